"""Where documents come from: folders, web pages, sitemaps, and what fsspec reaches; what of it to take, and when."""
