"""The self-hosted language models: their catalog, their server, and the clients of chat model and embedder."""
