"""`lab bench`: the gateway beside its peers, on this machine, in one run.

`processes` starts and watches the servers, `peers` says which there are, `service` stands behind all of them,
`clients` sends the load, `scenarios` measures, `report` and `plot` show.
"""
