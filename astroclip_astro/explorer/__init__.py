"""The page on which a catalog of embeddings is explored in a browser or a notebook."""
