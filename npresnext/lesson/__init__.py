"""THE LESSON: every operation in plain array operations, forward above backward, for any array library."""
