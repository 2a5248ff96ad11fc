"""What runs on the other side: the process that sandboxes are forked from, and how one is shut in.

These files import nothing of the package: in a sandbox there is no grader, no check and no solution.
"""
