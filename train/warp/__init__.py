"""Training of T, the detail network: pairs of pictures of one person in one frame."""
