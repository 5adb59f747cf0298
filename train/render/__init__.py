"""Renders training sets: a photo, its 189-point template and a FACS mesh give the same face with other expressions.

`set_builder.build_set` renders all people of a `photo_manifest`, each by `person_renderer`, which takes the pictures
planned in `sampling_plan` from `face_renderer` (action units) or `smile_tracking` (morphs to a real smile) and cuts
them out by `training_crop`. `face_model` fits the mesh to a photo and moves it, `shading` adds what the mesh lacks.
`virtual_people` mixes new people by `face_morph`. The method is described in docs/render.md.
"""
