"""One module for each family of formats: bytes to a `LoadedDocument`, in the children of `ingest.load`."""
