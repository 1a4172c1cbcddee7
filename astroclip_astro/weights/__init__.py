"""Models with their weights: registry, verified download, safe conversion, bundled weights."""
