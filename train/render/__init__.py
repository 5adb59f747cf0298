"""The generator of training sets: consented photos of neutral faces, driven to expressions of known strength by a mesh."""
