"""The tables and figures of the AstroCLIP paper, for any model and any data."""
