//! Agreement on one sequence of batches: the raft core and its bytes.
