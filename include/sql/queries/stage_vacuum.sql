-- Staging shrinks back to nothing between batches.
VACUUM (SKIP_LOCKED) {staging}
