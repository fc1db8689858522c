"""An archive with a key that reads nothing of what is in it; a sound one that is refused."""

from __future__ import annotations

import base64

import pytest

from documents.bridge.pickle_key import find_key_fault, fingerprint_key, opens_pickle
from documents.bridge.written_config import find_pickle_key
from documents.yaml_text import render_yaml

# An account of goolm's and one of libolm's, from mautrix-go's own tests (crypto/goolm/account/account_test.go).
GOOLM = (
    b"6POkBWwbNl20fwvZWsOu0jgbHy4jkA5h0Ji+XCag59+ifWIRPDrqtgQi9HmkLiSF6wUhhYaV4S73WM+Hh+dlCuZRuXhTQr8yGPTifjcjq8birdAh"
    b"ObbEqHrYEdqaQkrgBLr/rlS5sibXeDqbkhVu4LslvootU9DkcCbd4b/0Flh7iugxqkcCs5GDndTEx9IzTVJzmK82Y0Q1Z1Z9Vuc2Iw746PtBJLtZ"
    b"jite6fSMp2NigPX/ZWWJ3OnwcJo0Vvjy8hgptZEWkamOHdWbUtelbHyjDIZlvxOC25D3rFif0zzPkF9qdpBPqVCWPPzGFmgnqKau6CHrnPfq7GLs"
    b"M3BrprD7sHN1Js28ex14gXQPjBT7KTUo6H0e4gQMTMRp4qb8btNXDeId8xIFIElTh2SXZBTDmSq/ziVNJinEvYV8mGPvJZjDQQU+SyoS/HZ8uMc4"
    b"1tH0BOGDbFMHbfLMiz61E429gOrx2klu5lqyoyet7//HKi0ed5w2dQ"
)
LIBOLM = (
    b"x3h9er86ygvq56pM1yesdAxZou4ResPQC9Rszk/fhEL9JY/umtZ2N/foL/SUgVXSv0IxHHZTafYjDdzJU9xr8dQeBoOTGfV9E/lCqDGBnIlu7SZn"
    b"dqjEKXtzGyQr4sP4K/A/8TOu9iK2hDFszy6xETiousHnHgh2ZGbRUh4pQx+YMm8ZdNZeRnwFGLnrWyf9O5TmXua1FcU"
)


@pytest.mark.parametrize(("pickle", "key"), [(GOOLM, "test key"), (LIBOLM, "")])
def test_the_key_that_made_a_pickle_opens_it_and_no_other_one_does(pickle: bytes, key: str) -> None:
    assert opens_pickle(key, pickle) is True
    assert opens_pickle(f"{key}x", pickle) is False
    assert opens_pickle(key, pickle[:-2] + b"AA") is False, "another HMAC"


@pytest.mark.parametrize(
    "other", [b"", b"{}", b"\xff\0", GOOLM[:-9], base64.b64encode(b"short"), base64.b64encode(bytes(8))]
)
def test_what_is_no_pickle_tells_nothing(other: bytes) -> None:
    """A bridge that keeps its keys in another form could never be archived, so never be removed."""
    assert opens_pickle("test key", other) is None


def test_what_the_database_holds_counts_before_what_is_noted_of_it() -> None:
    noted = fingerprint_key("test key")
    assert find_key_fault("test key", "another", [GOOLM]) == ""
    assert find_key_fault("test key", "", [LIBOLM, GOOLM]) == "", "one of several accounts"
    assert find_key_fault("x", fingerprint_key("x"), [GOOLM]) == "its keys are encrypted with another pickle key"
    assert find_key_fault("test key", noted, []) == find_key_fault("test key", noted, [b"another form"]) == ""
    assert find_key_fault("x", noted, []) == "it began with another pickle key"
    assert find_key_fault("x", "", []) == "", "nothing is known"


def test_the_key_is_read_out_of_a_config_of_ours() -> None:
    text = render_yaml({"encryption": {"allow": True, "pickle_key": "a key"}, "pickle_key": 1}, "x")
    assert find_pickle_key(text) == "a key"
    assert find_pickle_key("encryption: {}\n") == ""
