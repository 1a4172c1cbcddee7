"""Galaxy images and spectra in one embedding space."""
