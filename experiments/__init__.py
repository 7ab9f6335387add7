"""Scripts that measure what the project claims, and reproduce tables and figures of the papers: one command each."""
