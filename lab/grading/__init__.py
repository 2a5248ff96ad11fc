"""The grader: runs what students hand in without trusting any of it, and writes down what it is worth.

A check runs here, in the grader; the submission runs in a sandboxed child and is asked questions over a
socket. What comes back is plain data, which the check judges. So there is nothing that a submission could
forge: a verdict is never made where its code runs.
"""
