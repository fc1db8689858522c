"""What runs on the host, with the standard library only: all of it is in one file (program_file.py).

`python3 -I FILE AREA VERB` runs a verb (verbs.py, dispatch.py). stdin is one JSON object (secrets included), stdout one
JSON object (the result), stderr short lines for a person, the exit code 0 or 1; 2 if there is no such verb.
"""
