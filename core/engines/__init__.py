"""The engines that hold the vector index: Qdrant in this process or on a server, Chroma with PostgreSQL."""
