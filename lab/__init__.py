"""A Contabo host in a box: real Docker, Postgres, Synapse and bridge core; emulated MAS and provider plugins.

`python -m lab up|status|reset|down` for people, `lab.box.Lab` for tests. README.md says what is real and what is not.
"""
