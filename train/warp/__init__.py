"""Training of T, the warp network, on pairs of pictures of one person."""
