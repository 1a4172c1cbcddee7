"""Plugin contract: entries, hook specifications and the manager that loads plugins."""
