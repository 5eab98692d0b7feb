//! Hand-written views and writers for the messages that carry the load, where a generated struct would allocate or copy.
//!
//! A view is validated once, whole, when it is made; after that its iterators walk the receive buffer and cannot fail. A writer takes
//! the counts first and the items one by one, so that a response is made while its results are looked through. The tests hold both
//! against the generated codec in every version.

mod fetch;
mod metadata;
mod produce;
mod view;

pub use fetch::{FetchResponseWriter, FetchTopicView, FetchView, ForgottenTopicView};
pub use metadata::{MetadataPartition, MetadataResponseWriter, MetadataTopic};
pub use produce::{ProducePartitionView, ProduceResponseWriter, ProduceTopicView, ProduceView};
pub use view::Items;
