"""Faults: what can go wrong with a service, as data, and the wrapper that makes it happen.

`registry.parse(data)` makes a fault of data; `target.faulty(app)` is the service's side,
`client.FaultClient` the other. Each fault has a file of its own; the shortest is `hang.py`, the longest
`stop.py`.
"""
