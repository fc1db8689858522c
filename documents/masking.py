"""Finds and masks secrets in a text that a person will read, as an error message or an evidence file.

A server may give a token back in a Location header, in a Basic header or in an error's text. Logs hold other people's
tokens.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

_SHORT = 8  # bytes; shorter pieces of base64 and cut-off beginnings look like words

_WORD = r"(?:password|passwd|passphrase|pass|pwd|secret|token|key|macaroon|pepper|salt|credential|private)"
SECRET_NAME = rf"[\w.-]*{_WORD}[\w.-]*"  # a key whose value may be a secret
_HARMLESS = re.compile(  # a file's name, and Synapse's options about other servers' public keys
    r"(?i).*_(?:path|file)s?|trusted_key_servers|old_signing_keys|key_refresh_interval"
    r"|suppress_key_server_warning|accept_keys_insecurely"
)

# Other people's secrets, recognised by what stands before them. Lengths are limited, so that no line takes long.
_NAME = (
    r"(?<![\w.-])[a-z][a-z0-9_.-]{0,60}?"
    r"(?:passwords?|passwd|passphrase|secrets?|tokens?|pepper|[a-z]_key|apikey|credentials?|encryption)"
)
_BARE = r"(?:password|passwd|passphrase|secret|token|pepper|apikey|encryption)"
_KEY = rf"(?:{_NAME}|(?<![\w.-]){_BARE})"
_VARIABLE = r"(?<!\w)[A-Z0-9_]{0,60}?(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|_KEY)[A-Z0-9_]{0,30}="
_STRANGERS = tuple(
    (re.compile(pattern), instead)
    for pattern, instead in (
        (r"(?i)(\bauthorization\\{0,4}[\"']?\s{0,4}[:=]\s{0,4}(?:b?\\{0,4}[\"'])?(?:basic|digest|token)\s{1,4})[^\s\"'\\…]+",
         r"\1…"),
        (r"(?i)(\bbearer\s{1,4})[A-Za-z0-9._~+/=-]{8,}", r"\1…"),
        # key: "value", with any quotes, escaped ones (JSON within JSON) among them
        (rf"({_KEY}\\{{0,4}}[\"']?\s{{0,4}}[:=]\s{{0,4}})(\\{{0,4}}[\"'])(?!…|\s)[^\n]{{1,512}}?\2", r"\1\2…\2"),
        (rf"({_KEY}\\{{0,4}}[\"']?\s{{0,4}}[:=]\s{{0,4}})(?![\"'\\…$])[^\s\"'\\&,;|}}\])…]{{8,}}", r"\1…"),
        (rf"({_VARIABLE})([\"'])(?!…|\$)[^\n]{{1,512}}?\2", r"\1\2…\2"),
        (rf"({_VARIABLE})(?![\"'…$])[^\s\"'…&;|)]+", r"\1…"),
        (r"(?i)(\bpassword\s{1,4})'(?!…)(?:[^'\n]|''){1,512}'", r"\1'…'"),  # SQL's
        (r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s:/@]{0,200}:)[^\s@/]{1,300}@", r"\1…@"),
        (r"((?:^|\s)(?:-u|--user)[ =][\"']?[^\s:\"'/]{1,200}:)(?!…)[^\s\"']+", r"\1…"),  # curl's
        # what a script's commands are given: by an option's name, a tool's own letter, in a header, in an address
        (r"(?i)((?:^|\s)--?[\w-]{0,30}(?:password|passphrase|passwd|pass|secret|token|api-?key)[= ][\"']?)(?!…)"
         r"[^\s\"'…]+", r"\1…"),
        (r"(\b(?:mysql|mysqldump|mariadb|mariadb-dump|7z[ar]?)\b[^\n|;]{0,200}?\s-p)(?!…)[^\s…]+", r"\1…"),
        (r"(\b(?:sshpass\s{1,4}-p|openssl\b[^\n|;]{0,200}?\s-k|zip\b[^\n|;]{0,200}?\s-P) ?)(?!…)[^\s…]+", r"\1…"),
        (r"(\b(?:lftp|ncftpput|smbclient)\b[^\n|;]{0,200}?\s-[uU] ?[^\s,%]{1,100}[,%])(?!…)[^\s…]+", r"\1…"),
        (r"(?i)(\b(?:x-[\w-]{0,30}(?:key|token|auth)|(?:set-)?cookie)\s{0,4}:\s{0,4})(?!…)[^\n\"'…]{1,512}", r"\1…"),
        (r"(?i)((?<![\w-])[\w-]{0,40}(?:password|passwd|passphrase|secret|access_token|sig)=)(?![\"'…$])[^\s\"'…&;|)]+",
         r"\1…"),
        (r"(\bbot\d{3,20}:|/webhooks/\d{1,30}/)(?!…)[\w-]{8,}", r"\1…"),
        (r"\b(syt|syl|syr|mat|mar|mct|mcr)_[A-Za-z0-9_-]{8,}", r"\1_…"),  # Synapse's and MAS's own tokens
        (r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)[^-]{1,8000}", r"\1…"),
    )
)  # fmt: skip
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def looks_secret(key: str) -> bool:
    """Whether a key's value is a secret, by its name."""
    return bool(re.fullmatch(f"(?i){SECRET_NAME}", key)) and not _HARMLESS.fullmatch(key)


def find_secrets(document: object) -> Iterator[str]:
    """Every text or number of a parsed YAML document below a key that looks secret."""
    todo, seen = [(document, False)], set()  # an anchor may hold itself
    while todo:
        value, hidden = todo.pop()
        if isinstance(value, (dict, list)):
            if (id(value), hidden) not in seen:
                seen.add((id(value), hidden))
                items = value.items() if isinstance(value, dict) else [("", item) for item in value]
                todo += [(item, hidden or looks_secret(str(key))) for key, item in items]
        elif hidden and value is not None and not isinstance(value, bool):
            yield str(value)


def find_spellings(secrets: Iterable[str]) -> list[str]:
    """Every spelling of every secret, the longest first.

    In base64, a secret inside a longer text has three spellings, by its offset; they are cut to the characters that do
    not depend on its neighbours. A secret of fewer than eight bytes has no spelling in base64.
    """
    spellings: set[str] = set()
    for secret in filter(None, secrets):
        for plain in (secret, *_escaped(secret)):
            spellings |= {plain, *_quoted(plain)}
        data = secret.encode()
        if len(data) < _SHORT:
            continue
        for before in range(3):
            coded = base64.b64encode(b"\0" * before + data).decode()
            core = coded[(0, 2, 3)[before] : (before + len(data)) * 8 // 6]
            spellings |= {core, core.replace("+", "-").replace("/", "_")}
    return sorted(spellings, key=lambda form: (-len(form), form))


def _quoted(text: str) -> Iterator[str]:
    """URL-encoded, also with lower-case digits, which some programs write."""
    for quoted in (quote(text, safe=""), quote(text), quote_plus(text)):
        yield quoted
        yield re.sub("%..", lambda match: match[0].lower(), quoted)


def _escaped(text: str) -> Iterator[str]:
    """Escaped as in a JSON string, and as in JSON inside a JSON string."""
    for ascii_only in (True, False):
        once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        for form in (once, once.replace("/", "\\/")):
            yield form
            yield json.dumps(form)[1:-1]
            yield json.dumps(form, ensure_ascii=False)[1:-1]


def _cover(form: str) -> str:
    return f"{form[:4]}…" if len(form) >= 16 else "…"


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets. The first four characters of a long one (16 or more) stay, to tell them apart.

    A secret that the text's end cuts off is masked, too: a body is read up to a limit, which may fall into a token.
    """
    spellings = find_spellings(secrets)
    for form in spellings:
        text = text.replace(form, _cover(form))
    for form in spellings:
        for length in range(min(len(form) - 1, len(text)), _SHORT - 1, -1):
            if text.endswith(form[:length]):
                return text[:-length] + _cover(form)
    return text


def clean_log(text: str, secrets: Iterable[str]) -> str:
    """A log for a person: without colour codes, without our secrets, and without what looks like other people's.

    These are the values of anything called password, secret, token or key, in YAML, JSON, a URL, a shell or SQL; bearer
    and basic headers; passwords in addresses; private keys; tokens of Synapse and MAS.
    """
    text = mask(_COLOUR.sub("", text), secrets)
    for pattern, instead in _STRANGERS:
        text = pattern.sub(instead, text)
    return text
