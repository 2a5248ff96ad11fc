from lab.exercises.kit import check


@check(points=20, why="Everybody deserves it.")
def test_is_here(student):
    pass
