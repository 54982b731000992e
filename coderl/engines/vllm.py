"""vLLM samples, as a server at a URL or inside the training process; weights go to it through a folder.

    VLLM_SERVER_DEV_MODE=1 vllm serve FOLDER        # FOLDER holds the policy that the run starts from

When the policy has changed it is saved into the folder, and vLLM loads it again in place (a server does that in its development
mode alone) and forgets its prefixes. That this works is proven once, before the first sample, with another output layer: vLLM
keeps the old one without a word if it serves another folder, or on a CPU where that layer is tied to the embedding.
A server's log-probabilities are those before temperature, so there `coderl.config` asks for temperature 1; inside the process
they are asked for as drawn. They come from other kernels than the trainer's: `importance` corrects.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import torch

from coderl.engines import Sampling, finished
from coderl.errors import EngineError, MissingExtra
from coderl.experience import Example, collate
from coderl.generate import Sample, SampleRequest
from coderl.policy import Policy

SECONDS = 600.0  # for one completion, or for loading the weights
CONNECTIONS = 64
PROOF_TOKENS = 16
STOPS = 4  # strings that a completion may name


class Drawn(NamedTuple):
    ids: list[int]
    logprobs: list[float]
    reason: str  # why it ended, in vLLM's words


class _Vllm:
    """What both share; they differ in how weights are loaded again from the folder (`_reload`) and in how to draw (`_draw`)."""

    name: str
    _folder: Path

    def __init__(self) -> None:
        self._served: tuple[tuple[int, int], ...] = ()

    def sample(
        self, policy: Policy, requests: Sequence[SampleRequest], **settings: Unpack[Sampling]
    ) -> Iterator[Sample]:
        """See `Engine`; vLLM makes its own batches, so `batch_size` says nothing here."""
        if not requests:
            return
        self._bring(policy, requests[0], settings)
        for request, drawn in self._draw(policy, requests, settings):
            if not drawn.ids or len(drawn.ids) != len(drawn.logprobs):
                raise EngineError(
                    f"{self.name}: {len(drawn.ids)} token ids with {len(drawn.logprobs)} log-probabilities"
                )
            made = finished(request, drawn.ids, drawn.logprobs, eos_ids=policy.eos_ids, tokenizer=policy.tokenizer)
            if made.truncated and drawn.reason != "length":
                raise EngineError(
                    f"{self.name}: a completion that ended by {drawn.reason!r} holds nothing that stops it"
                )
            yield made

    def _bring(self, policy: Policy, probe: SampleRequest, settings: Sampling) -> None:
        """Give vLLM the weights, if they are not those that it has."""
        if self._served and self._served == _state(policy):
            return
        if hasattr(policy.model, "peft_config"):
            raise EngineError(
                "generation.engine vllm: it cannot load adapters again: train all weights, or take another"
            )
        if not self._served:
            self._start(policy)
            self._prove(policy, probe, settings)
        self._load(policy)
        self._served = _state(policy)

    def _load(self, policy: Policy) -> None:
        policy.save(self._folder)
        self._reload()

    def _prove(self, policy: Policy, probe: SampleRequest, settings: Sampling) -> None:
        """Raise EngineError unless vLLM draws by the folder's weights once every other column of the output layer is doubled.

        The threshold, a quarter of what that changes: kernels in 16 bits were off by a thirtieth of it, an old layer by
        three quarters (SmolLM2-135M).
        """
        request = SampleRequest(key=None, prompt_ids=probe.prompt_ids, seed=probe.seed)
        few = Sampling(max_new_tokens=PROOF_TOKENS, temperature=settings["temperature"], batch_size=1)
        layer = policy.model.get_output_embeddings().weight
        kept = layer.detach().clone()
        try:
            with torch.no_grad():
                layer[..., ::2] *= 2
            self._load(policy)
            _, drawn = next(iter(self._draw(policy, [request], few)))
            changed = _logprobs(policy, request, drawn, few["temperature"])
        finally:
            with torch.no_grad():
                layer.copy_(kept)
        own = _logprobs(policy, request, drawn, few["temperature"])
        off = (torch.tensor(drawn.logprobs) - changed).abs().mean().item()
        apart = (own - changed).abs().mean().item()
        if not off < apart / 4:
            raise EngineError(
                f"{self.name}: it does not draw by the weights saved in {self._folder} (log-probabilities off by {off:.3g} a "
                f"token, where other weights make {apart:.3g}): is that the folder it serves? A server on a CPU cannot load "
                "an output layer again that is tied to the embedding: leave out generation.engine_url, or untie it"
            )

    def _start(self, policy: Policy) -> None:
        """Start what does not run yet, on the policy's weights."""

    def _reload(self) -> None:
        raise NotImplementedError

    def _draw(
        self, policy: Policy, requests: Sequence[SampleRequest], settings: Sampling
    ) -> Iterator[tuple[SampleRequest, Drawn]]:
        raise NotImplementedError


class VllmServer(_Vllm):
    """`folder` is the one that the server at `url` was started on, seen from here."""

    def __init__(self, url: str, folder: str) -> None:
        super().__init__()
        self.name, self._folder = url.rstrip("/"), Path(folder)
        models = self._ask("/v1/models")["data"]
        self._model = str(models[0]["id"])

    def _reload(self) -> None:
        self._ask("/collective_rpc", {"method": "reload_weights"})
        self._ask("/reset_prefix_cache", {})

    def _draw(
        self, policy: Policy, requests: Sequence[SampleRequest], settings: Sampling
    ) -> Iterator[tuple[SampleRequest, Drawn]]:
        with ThreadPoolExecutor(max_workers=CONNECTIONS) as pool:
            waiting = {pool.submit(self._complete, request, policy, settings): request for request in requests}
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _complete(self, request: SampleRequest, policy: Policy, settings: Sampling) -> Drawn:
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
                "stop": list(request.stop[:STOPS]),  # `finished` cuts at the others
                "include_stop_str_in_output": True,
                "stop_token_ids": sorted(policy.eos_ids),
            },
        )
        try:
            said = answer["choices"][0]["logprobs"]
            ids = [int(token.removeprefix("token_id:")) for token in said["tokens"]]
            logprobs = [float(value) for value in said["token_logprobs"]]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise EngineError(f"{self.name}: a completion without token ids and log-probabilities: {error!r}") from None
        return Drawn(ids, logprobs, str(answer["choices"][0].get("finish_reason")))

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(self.name + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(call, timeout=SECONDS) as answer:
                said = answer.read()
            return json.loads(said) if said.strip() else {}
        except urllib.error.HTTPError as error:
            with error:
                detail = error.read(300).decode(errors="replace").strip().split("\n")[0]
            hint = "; start it with VLLM_SERVER_DEV_MODE=1" if error.code == 404 and not path.startswith("/v1/") else ""
            raise EngineError(f"vLLM at {self.name}{path}: {error.code} {detail}{hint}") from None
        except (OSError, ValueError) as error:
            raise EngineError(f"vLLM at {self.name}{path}: {error}; is it running?") from None


class VllmHere(_Vllm):
    """vLLM in this process, started by the first sample, with the share `memory` of the GPU's memory (or a CPU machine's)."""

    name = "vLLM in this process"

    def __init__(self, memory: float) -> None:
        super().__init__()
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # read when vllm is imported, and when it starts
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it warns of the layer that `_reload_in_worker` sees to
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # it would bind the trainer to one core
        try:
            vllm = importlib.import_module("vllm")
        except ImportError as error:
            raise MissingExtra(
                f"generation.engine vllm without engine_url: vllm cannot be imported ({error}): install it, or name a server"
            ) from None
        self._vllm, self._memory = vllm, memory
        self._llm: Any = None
        self._folder = Path(tempfile.mkdtemp(prefix="coderl-vllm-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def _start(self, policy: Policy) -> None:
        policy.save(self._folder)
        dtype = policy.autocast or next(iter(policy.model.parameters())).dtype
        with torch.random.fork_rng():  # it seeds torch, and draws from its stream
            self._llm = self._vllm.LLM(
                model=str(self._folder),
                dtype=str(dtype).removeprefix("torch."),
                gpu_memory_utilization=self._memory,
                max_model_len=-1,  # as long as its memory has room for
                logprobs_mode="processed_logprobs",
                distributed_executor_backend="uni",
                enforce_eager=policy.device.type == "cpu",  # compiling would take minutes there
                seed=0,
            )

    def _reload(self) -> None:
        self._llm.collective_rpc(_reload_in_worker)
        self._llm.reset_prefix_cache()

    def _draw(
        self, policy: Policy, requests: Sequence[SampleRequest], settings: Sampling
    ) -> Iterator[tuple[SampleRequest, Drawn]]:
        wanted = [
            self._vllm.SamplingParams(
                max_tokens=settings["max_new_tokens"],
                temperature=settings["temperature"],
                seed=request.seed % 2**31,
                logprobs=0,  # the drawn token's alone
                stop=list(request.stop),
                include_stop_str_in_output=True,
                stop_token_ids=sorted(policy.eos_ids),
            )
            for request in requests
        ]
        prompts = [{"prompt_token_ids": list(request.prompt_ids)} for request in requests]
        with torch.random.fork_rng():
            answers = self._llm.generate(prompts, wanted, use_tqdm=False)
        for request, answer in zip(requests, answers, strict=True):
            said = answer.outputs[0]
            ids = list(said.token_ids)
            logprobs = [step[token].logprob for token, step in zip(ids, said.logprobs, strict=True)]
            yield request, Drawn(ids, logprobs, str(said.finish_reason))


def _reload_in_worker(worker: Any) -> None:
    """Load the folder again. A CPU build keeps a packed copy of the output layer, which a tied one must be packed anew for."""
    worker.reload_weights()
    head: Any = getattr(worker.get_model(), "lm_head", None)
    if hasattr(head, "cpu_linear"):
        head.quant_method.process_weights_after_loading(head)


def _state(policy: Policy) -> tuple[tuple[int, int], ...]:
    return tuple((id(p), p._version) for p in policy.model.parameters())  # counts changes in place


@torch.no_grad()
def _logprobs(policy: Policy, request: SampleRequest, drawn: Drawn, temperature: float) -> torch.Tensor:
    example = Example(prompt_ids=request.prompt_ids, completion_ids=tuple(drawn.ids))
    batch = collate([example], [1.0], policy.pad_id, policy.device)
    return policy.logprobs(batch, temperature or 1.0)[0].cpu()
