"""What agents may call, and what the API offers beside them: search over the documents."""
