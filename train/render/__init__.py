"""The training set's generator: photo + 189-point template + FACS mesh -> the same face with another expression.

`verb` is the door (needs no heavy packages). Behind it, in the order of the work: `mesh` reads the FaceKit file,
`template` the points of a photo (or derives them), `patch` lays the photo into one frame, `landmarks` says which
vertex belongs to which point, `fit` finds camera and shape; `units` turns FACS action units into movements and
`recipes` expressions into action units; `face` renders, with `surround`, `shading` and `creases`, `eyes`, `lips`,
`mouth`; `smile` tracks a real smile; `crop` cuts out; `plan` says which pictures are made and `build` makes them.
docs/render.md tells the method.
"""
