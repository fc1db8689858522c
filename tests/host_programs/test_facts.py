"""A look at the host that takes a thing for missing which is there in another form."""

from __future__ import annotations

import subprocess

import pytest

from host_programs.facts import postgres


@pytest.mark.parametrize(
    ("environment", "password"),
    [
        ({"POSTGRES_PASSWORD": "plain"}, "plain"),
        ({"POSTGRES_PASSWORD_FILE": "/run/secrets/postgres_password"}, "in the file"),
        ({"POSTGRES_PASSWORD_FILE": "/gone"}, ""),
        ({}, ""),
    ],
)
def test_the_superuser_s_password_is_found_as_the_image_finds_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], password: str
) -> None:
    def docker(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        assert words[:3] == ("exec", "matrix-postgres", "cat")
        there = words[3] == "/run/secrets/postgres_password"
        return subprocess.CompletedProcess(words, 0 if there else 1, "in the file\n" if there else "", "")

    monkeypatch.setattr(postgres, "run_docker", docker)
    monkeypatch.setattr(postgres, "read_variable", lambda container, name: environment.get(name, ""))
    assert postgres.read_superuser_password("matrix-postgres") == password
