"""The exercises: what there is to write, how it is checked, and how it gets into the running gateway.

`kit` is what the checks are written with. `agent` runs a submission, `channel` is the narrow way between the
two. `worker` runs the checks of one exercise in a process of its own, and `runner` looks after that process.
"""
