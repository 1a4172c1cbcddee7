"""Astropy objects to tensors: spectra and cutouts as batches on the model's input grid."""
