"""What runs on the host: one file a job, standard library only, each runnable by itself.

`python3 -m host_programs.NAME VERB < arguments.json` from the checkout, or through `host_programs/launch.py` on a
host that has no checkout. stdin is one JSON object of arguments (secrets included), stdout one JSON object (the
result), stderr short lines for a person, the exit code 0 or 1.
"""
