"""A small language model of Python source and a sparse autoencoder on it, trained here, offline."""
