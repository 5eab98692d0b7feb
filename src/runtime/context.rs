//! Which backend the running task belongs to.
