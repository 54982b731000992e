"""A vLLM server samples: OpenAI's /v1/completions with token ids in and out; weights go through a folder.

    VLLM_SERVER_DEV_MODE=1 vllm serve FOLDER        # FOLDER holds the policy that the run starts from

When the policy has changed it is saved into that folder, and the server told to load it again (/collective_rpc reload_weights,
which vLLM has in its development mode alone) and to forget its prefixes. vLLM's log-probabilities are those before temperature,
so training asks for temperature 1 (`coderl.config` checks it); they come from other kernels than the trainer's: `importance`
corrects. Written to the documented interface and tested with a scripted server; no vLLM runs where coderl is tested.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Unpack

from coderl.engines import Sampling, finished
from coderl.errors import EngineError
from coderl.generate import Sample, SampleRequest
from coderl.policy import Policy

SECONDS = 600.0  # for one completion, or for loading the weights
CONNECTIONS = 64


class VllmServer:
    """`folder` is the one that the server at `url` was started on, seen from here."""

    def __init__(self, url: str, folder: str) -> None:
        self._url, self._folder = url.rstrip("/"), Path(folder)
        self._served: tuple[tuple[int, int], ...] = ()
        models = self._ask("/v1/models")["data"]
        self._model = str(models[0]["id"])

    def sample(
        self, policy: Policy, requests: Sequence[SampleRequest], **settings: Unpack[Sampling]
    ) -> Iterator[Sample]:
        """See `Engine`; the server makes its own batches, so `batch_size` says nothing here."""
        self._bring(policy)
        with ThreadPoolExecutor(max_workers=CONNECTIONS) as pool:
            waiting = {pool.submit(self._complete, request, policy, settings): request for request in requests}
            try:
                for done in as_completed(waiting):
                    ids, logprobs, reason = done.result()
                    request = waiting[done]
                    made = finished(request, ids, logprobs, eos_ids=policy.eos_ids, tokenizer=policy.tokenizer)
                    if made.truncated and reason != "length":
                        raise EngineError(
                            f"{self._url}: a completion that ended by {reason!r} holds nothing that stops it"
                        )
                    yield made
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _bring(self, policy: Policy) -> None:
        """Give the server the weights, if they are not those that it has."""
        now = tuple((id(p), p._version) for p in policy.model.parameters())  # counts changes in place
        if now == self._served:
            return
        if hasattr(policy.model, "peft_config"):
            raise EngineError(
                "generation.engine vllm: it cannot load adapters again: train all weights, or take another"
            )
        policy.save(self._folder)
        self._ask("/collective_rpc", {"method": "reload_weights"})
        self._ask("/reset_prefix_cache", {})
        self._served = now

    def _complete(
        self, request: SampleRequest, policy: Policy, settings: Sampling
    ) -> tuple[list[int], list[float], str]:
        """Token ids, their log-probabilities, and why it ended."""
        answer = self._ask(
            "/v1/completions",
            {
                "model": self._model,
                "prompt": list(request.prompt_ids),
                "max_tokens": settings["max_new_tokens"],
                "temperature": settings["temperature"],
                "seed": request.seed % 2**31,
                "top_p": 1.0,
                "top_k": 0,
                "logprobs": 1,
                "return_tokens_as_token_ids": True,
                "stop": list(request.stop),
                "include_stop_str_in_output": True,
                "stop_token_ids": sorted(policy.eos_ids),
            },
        )
        try:
            said = answer["choices"][0]["logprobs"]
            ids = [int(token.removeprefix("token_id:")) for token in said["tokens"]]
            logprobs = [float(value) for value in said["token_logprobs"]]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise EngineError(f"{self._url}: a completion without token ids and log-probabilities: {error!r}") from None
        if not ids or len(ids) != len(logprobs):
            raise EngineError(f"{self._url}: {len(ids)} token ids with {len(logprobs)} log-probabilities")
        return ids, logprobs, str(answer["choices"][0].get("finish_reason"))

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(call, timeout=SECONDS) as answer:
                said = answer.read()
            return json.loads(said) if said.strip() else {}
        except urllib.error.HTTPError as error:
            with error:
                detail = error.read(300).decode(errors="replace").strip().split("\n")[0]
            hint = "; start it with VLLM_SERVER_DEV_MODE=1" if error.code == 404 and not path.startswith("/v1/") else ""
            raise EngineError(f"vLLM at {self._url}{path}: {error.code} {detail}{hint}") from None
        except (OSError, ValueError) as error:
            raise EngineError(f"vLLM at {self._url}{path}: {error}; is it running?") from None
