"""Ray's token authentication: who asks for one, and what it means if nobody does."""

from __future__ import annotations

import requests

OPEN = (
    "this Ray cluster answers without a token: whoever reaches it can run code on it, and read what your "
    "search reads; start it with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH, the same for your commands"
)

_ANSWER_SECONDS = 10


def answers_without_token(url: str) -> bool:
    """Whether a cluster's dashboard tells its jobs to somebody without a token; False if it can't be asked.

    Args:
        url: Such as ``http://host:8265``.
    """
    try:
        answer = requests.get(f"{url.rstrip('/')}/api/jobs/", timeout=_ANSWER_SECONDS, auth=_no_netrc)
    except requests.RequestException:
        return False
    return answer.ok


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
