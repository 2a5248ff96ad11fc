"""The failure classics, one a file. Each holds a `SCENARIO`; the words are in `lab/scenarios/model.py`."""
