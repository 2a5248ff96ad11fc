"""For every row of docs/wire.md a gateway that gets it wrong, and the test that must notice."""
