//! The way of images from the quorum to the shards, and of answers that wait until every shard has one.

use ringlane_metadata::{Delta, Image};
use ringlane_runtime::Event;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// One step of the metadata: the image after it and what it changed. `Send`; cheap to clone.
#[derive(Clone, Debug)]
pub struct Publication {
    pub image: Arc<Image>,
    pub delta: Arc<Delta>,
}

/// The images, in order; steps that come faster than they are taken are merged into one. Bound to shard 0.
pub struct Publications {
    board: Rc<Board>,
}

impl Publications {
    /// The next image. The first call yields the image as it is then, with a delta that names everything in it. Calling again says that
    /// every shard has the previous one, which is what controller requests wait for: so the task that reads must not itself wait for
    /// one.
    pub async fn next(&mut self) -> Publication {
        self.board.is_taken.set(false);
        self.board.answers_taken.take().into_iter().for_each(|answer| answer());
        loop {
            let posted = self.board.posted_event.listen();
            if let Some(posted) = self.board.posted.take() {
                self.board.is_taken.set(true);
                *self.board.answers_taken.borrow_mut() = self.board.answers_posted.take();
                return posted;
            }
            posted.await;
        }
    }
}

impl Drop for Publications {
    fn drop(&mut self) {
        self.board.has_reader.set(false);
        self.board.release_answers();
    }
}

type Answer = Box<dyn FnOnce()>;

/// Where the driver posts and the reader takes.
#[derive(Default)]
pub(super) struct Board {
    has_reader: Cell<bool>,
    /// Whether the reader has one that it still takes around.
    is_taken: Cell<bool>,
    /// At most one: a new one is merged into it.
    posted: RefCell<Option<Publication>>,
    posted_event: Event,
    /// Sent when the reader comes back after the publication in `posted`; bounded with the
    /// requests under way.
    answers_posted: RefCell<Vec<Answer>>,
    /// The same for the publication that the reader has now.
    answers_taken: RefCell<Vec<Answer>>,
}

impl Board {
    pub fn reader(self: &Rc<Self>, image: Arc<Image>) -> Publications {
        self.has_reader.set(true);
        let delta = Arc::new(Delta::everything(&image));
        *self.posted.borrow_mut() = Some(Publication { image, delta });
        self.posted_event.notify_all();
        Publications { board: self.clone() }
    }

    pub fn post(&self, image: Arc<Image>, delta: Delta) {
        if !self.has_reader.get() {
            return;
        }
        let merged = match self.posted.take() {
            Some(earlier) => {
                let mut merged = Arc::unwrap_or_clone(earlier.delta);
                merged.merge(&delta);
                merged
            }
            None => delta,
        };
        *self.posted.borrow_mut() = Some(Publication { image, delta: Arc::new(merged) });
        self.posted_event.notify_all();
    }

    /// Runs `answer` once every shard has all that was posted so far.
    pub fn answer_when_taken(&self, answer: Answer) {
        match (self.has_reader.get(), self.posted.borrow().is_some(), self.is_taken.get()) {
            (true, true, _) => self.answers_posted.borrow_mut().push(answer),
            (true, false, true) => self.answers_taken.borrow_mut().push(answer),
            _ => answer(),
        }
    }

    pub fn answers_waiting(&self) -> usize {
        self.answers_posted.borrow().len() + self.answers_taken.borrow().len()
    }

    /// Runs all answers: nobody takes publications any more.
    pub fn release_answers(&self) {
        let answers = [self.answers_taken.take(), self.answers_posted.take()];
        answers.into_iter().flatten().for_each(|answer| answer());
    }
}
