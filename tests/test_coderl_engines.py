"""Engines: what they draw is what the policy would, their log-probabilities are kept, and what goes wrong is one line."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from safetensors.torch import load_file  # noqa: E402

from coderl.config import NewModelConfig, PolicyConfig, parse  # noqa: E402
from coderl.engines import OwnLoop, finished, open_engine  # noqa: E402
from coderl.engines.continuous import Continuous  # noqa: E402
from coderl.engines.vllm import VllmHere, VllmServer  # noqa: E402
from coderl.errors import ConfigError, EngineError, MissingExtra  # noqa: E402
from coderl.experience import Example, collate  # noqa: E402
from coderl.generate import SampleRequest  # noqa: E402
from coderl.policy import load_policy  # noqa: E402

NEW = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=2, num_heads=2, vocab_size=270, max_positions=64)
CONFIG = {
    "stages": ["grpo"],
    "policy": {"model": "new:"},
    "tasks": {"train": ["easy"]},
    "grpo": {"importance": "truncate"},
}


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicyConfig(model="new:", new=NEW), seed=0, corpus=["def f(x): return x"])


def requests(policy, count, stop=()):
    prompts = [tuple(policy.tokenizer(text)["input_ids"]) for text in ("def f(x):", "return", "x = 1 +")]
    return [SampleRequest(key=n, prompt_ids=prompts[n % 3], seed=n, stop=stop) for n in range(count)]


def logprobs(policy, request, sample, temperature):
    example = Example(prompt_ids=request.prompt_ids, completion_ids=sample.ids)
    batch = collate([example], [1.0], policy.pad_id, torch.device("cpu"))
    return policy.logprobs(batch, temperature)[0].detach()


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_continuous_batching_keeps_the_logprobs_that_the_policy_has(policy, temperature):
    asked = requests(policy, 12)
    engine = Continuous()
    found = {s.key: s for s in engine.sample(policy, asked, max_new_tokens=8, temperature=temperature, batch_size=4)}
    assert sorted(found) == list(range(12))
    for request in asked:
        sample = found[request.key]
        expected = logprobs(policy, request, sample, temperature)
        torch.testing.assert_close(torch.tensor(sample.logprobs), expected, rtol=1e-4, atol=1e-4)
    assert len({found[n].ids for n in range(0, 12, 3)}) > 1  # samples of one prompt are not copies


def test_continuous_batching_is_greedy_where_the_own_loop_is(policy):
    asked = requests(policy, 3)
    settings = {"max_new_tokens": 8, "temperature": 0.0, "batch_size": 4}
    own = {s.key: s.ids for s in OwnLoop().sample(policy, asked, **settings)}
    assert {s.key: s.ids for s in Continuous().sample(policy, asked, **settings)} == own


def test_continuous_batching_of_nothing_is_nothing(policy):
    assert list(Continuous().sample(policy, [], max_new_tokens=8, temperature=1.0, batch_size=4)) == []


def test_a_sample_ends_at_its_first_stop_token_or_string(policy):
    ids = policy.tokenizer("x = 1\nprint(x)")["input_ids"]
    end = policy.tokenizer.eos_token_id
    plain, stopping = (
        SampleRequest(key=0, prompt_ids=(5,), seed=0),
        SampleRequest(key=0, prompt_ids=(5,), seed=0, stop=("\nprint",)),
    )
    settings = {"eos_ids": policy.eos_ids, "tokenizer": policy.tokenizer}
    whole = finished(plain, ids, [0.0] * len(ids), **settings)
    assert whole.truncated
    assert whole.ids == tuple(ids)
    cut = finished(plain, [*ids[:3], end, *ids], [-1.0] * (len(ids) + 4), **settings)
    assert cut.ids == (*ids[:3], end)
    assert len(cut.logprobs) == 4
    assert not cut.truncated
    text = policy.tokenizer.decode(finished(stopping, ids, [0.0] * len(ids), **settings).ids)
    assert text.endswith("print") and "(" not in text


class Twin:
    """What vLLM is to a trainer: the policy's model, drawing by the weights that it last loaded from a folder.

    The output layer is tied to the embedding; with `packed` there is a copy of it, as on a CPU, that loading leaves alone.
    """

    def __init__(self, like, *, packed=False):
        self.policy = load_policy(PolicyConfig(model="new:", new=NEW), seed=0, corpus=["def f(x): return x"])
        self.policy.load_weights(like.weights())
        self.num_loads = 0
        if packed:
            self.pack()

    def pack(self):
        model = self.policy.model
        model.lm_head.weight = torch.nn.Parameter(model.model.embed_tokens.weight.detach().clone())

    def load(self, folder):
        missing = self.policy.model.load_state_dict(load_file(folder / "model.safetensors"), strict=False).missing_keys
        assert missing == ["lm_head.weight"]
        self.num_loads += 1

    def draw(self, prompt, seed, max_new_tokens, temperature):
        request = SampleRequest(key=0, prompt_ids=tuple(prompt), seed=seed)
        settings = {"max_new_tokens": max_new_tokens, "temperature": temperature, "batch_size": 1}
        return next(iter(OwnLoop().sample(self.policy, [request], **settings)))


class Scripted(BaseHTTPRequestHandler):
    """A server with vLLM's paths: a twin of the policy, or once that is proven, what `server.answer` tells it."""

    def do_GET(self):
        self._say({"data": [{"id": "policy"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body))
        twin = self.server.twin
        if len(body.get("stop", [])) > 4:
            self._say((400, {"error": {"message": "List should have at most 4 items"}}))
        elif answer := self.server.answer and self.server.answer(self.path, body):
            self._say(answer)
        elif self.path == "/v1/completions":
            drawn = twin.draw(body["prompt"], body["seed"], body["max_tokens"], body["temperature"])
            self._say(completion(drawn.ids, drawn.logprobs, "length" if drawn.truncated else "stop"))
        else:
            if self.path == "/collective_rpc":
                assert body == {"method": "reload_weights"}
                twin.load(self.server.folder)
            self._say({})

    def _say(self, answer):
        status, said = (200, answer) if isinstance(answer, dict) else answer
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(policy, tmp_path):
    made = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    made.seen, made.url = [], f"http://127.0.0.1:{made.server_port}"
    made.twin, made.folder, made.answer = Twin(policy), tmp_path, None
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def once_proven(server, answer):
    """Script the completions that follow the proof, which loads weights twice: other ones, and the policy's."""
    return lambda path, body: answer(body) if path == "/v1/completions" and server.twin.num_loads > 1 else None


def completion(ids, values, reason="stop"):
    said = {"tokens": [f"token_id:{i}" for i in ids], "token_logprobs": values}
    return {"choices": [{"text": "", "logprobs": said, "finish_reason": reason}]}


def sampled(engine, policy, asked, max_new_tokens=8):
    return {
        s.key: s for s in engine.sample(policy, asked, max_new_tokens=max_new_tokens, temperature=1.0, batch_size=4)
    }


def test_a_vllm_server_gets_token_ids_and_its_own_logprobs_are_kept(server, policy, tmp_path):
    end = policy.tokenizer.eos_token_id

    def answer(body):
        if body["seed"] == 2:
            return completion([9] * body["max_tokens"], [-0.5] * body["max_tokens"], "length")
        return completion([7, 8, end], [-1.0, -2.0, -3.0])

    server.answer = once_proven(server, answer)
    stop = ("\n```", "\ndef", "\nif", "\nclass", "\nprint")
    asked = requests(policy, 4, stop=stop)
    found = sampled(VllmServer(server.url, str(tmp_path)), policy, asked)
    assert found[0].ids == (7, 8, end)
    assert found[0].logprobs == (-1.0, -2.0, -3.0)
    assert [found[n].truncated for n in range(4)] == [False, False, True, False]
    bodies = [body for path, body in server.seen if path == "/v1/completions"][1:]
    assert sorted(body["seed"] for body in bodies) == [0, 1, 2, 3]
    for body in bodies:
        assert tuple(body["prompt"]) in {r.prompt_ids for r in asked}
        assert body["stop"] == list(stop[:4])
        assert body["stop_token_ids"] == sorted(policy.eos_ids)
        assert (body["temperature"], body["top_p"], body["max_tokens"]) == (1.0, 1.0, 8)


def test_weights_go_to_vllm_when_they_have_changed_and_only_then(server, tmp_path):
    own = load_policy(PolicyConfig(model="new:", new=NEW), seed=0, corpus=["def f(x): return x"])
    before = own.weights()
    engine = VllmServer(server.url, str(tmp_path))

    def samples():
        found = sampled(engine, own, requests(own, 3))
        for request in requests(own, 3):
            expected = logprobs(own, request, found[request.key], 1.0)
            torch.testing.assert_close(torch.tensor(found[request.key].logprobs), expected, rtol=1e-4, atol=1e-4)
        return [path for path, _ in server.seen if path != "/v1/completions"]

    assert samples() == ["/collective_rpc", "/reset_prefix_cache"] * 2  # the proof's weights, then the policy's
    assert all(torch.equal(weight, before[name]) for name, weight in own.weights().items())
    assert len(samples()) == 4
    with torch.no_grad():
        for parameter in own.model.parameters():
            parameter[..., ::3] *= 1.5
    assert len(samples()) == 6


@pytest.mark.parametrize("fault", ["another folder", "a packed output layer"])
def test_a_server_that_does_not_load_the_weights_is_found_out_before_the_first_sample(server, policy, tmp_path, fault):
    if fault == "another folder":
        server.folder = tmp_path / "served"
        policy.save(server.folder)
    else:
        server.twin = Twin(policy, packed=True)
    before = policy.weights()
    with pytest.raises(EngineError, match="is that the folder it serves"):
        sampled(VllmServer(server.url, str(tmp_path)), policy, requests(policy, 1))
    assert all(torch.equal(weight, before[name]) for name, weight in policy.weights().items())


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (completion([7, 8], [-1.0, -2.0], "stop"), "ended by 'stop' holds nothing that stops it"),
        (completion([7, 8], [-1.0], "length"), "2 token ids with 1 log-probabilities"),
        ({"choices": [{"text": "x", "logprobs": None}]}, "without token ids and log-probabilities"),
        ((500, {"error": "out of memory"}), "500 .*out of memory"),
    ],
)
def test_an_answer_that_cannot_be_learned_from_is_one_clear_line(server, policy, tmp_path, answer, fault):
    server.answer = once_proven(server, lambda body: answer)
    with pytest.raises(EngineError, match=fault):
        sampled(VllmServer(server.url, str(tmp_path)), policy, requests(policy, 2))


def test_a_server_without_its_development_mode_says_how_to_start_it(server, policy, tmp_path):
    server.answer = lambda path, body: (404, {"detail": "Not Found"})
    with pytest.raises(EngineError, match=r"collective_rpc: 404 .*start it with VLLM_SERVER_DEV_MODE=1"):
        sampled(VllmServer(server.url, str(tmp_path)), policy, requests(policy, 1))


def test_no_server_is_one_clear_line(tmp_path):
    with pytest.raises(EngineError, match="is it running"):
        VllmServer("http://127.0.0.1:9", str(tmp_path))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"generation": {"engine": "continuous"}, "grpo": {}}, "set grpo.importance to truncate or mask"),
        ({"generation": {"engine": "vllm", "engine_folder": "y"}}, "engine_url and engine_folder"),
        ({"generation": {"engine_url": "http://x", "engine_folder": "y"}}, "engine_url and engine_folder"),
        (
            {"generation": {"engine": "vllm", "engine_url": "http://x", "engine_folder": "y", "temperature": 0.8}},
            "before temperature",
        ),
    ],
)
def test_a_config_whose_engine_would_bias_the_update_is_refused(change, fault):
    with pytest.raises(ConfigError, match=fault):
        parse({**CONFIG, **change})


class _Llm:
    """vllm.LLM as far as the engine goes: a twin behind the calls of vLLM 0.32, whose output layer reloading leaves alone."""

    def __init__(self, *, model, dtype, logprobs_mode, distributed_executor_backend, **_):
        assert (dtype, logprobs_mode, distributed_executor_backend) == ("float32", "processed_logprobs", "uni")
        self.twin, self._folder = Twin(_Llm.policy, packed=True), Path(model)
        self.lm_head = self.quant_method = self
        self.cpu_linear, self.num_resets = None, 0

    def collective_rpc(self, function):
        function(self)

    def reload_weights(self):
        self.twin.load(self._folder)

    def get_model(self):
        return self

    def process_weights_after_loading(self, layer):
        assert layer is self.lm_head
        if _Llm.can_pack:
            self.twin.pack()

    def reset_prefix_cache(self):
        self.num_resets += 1

    def generate(self, prompts, wanted, *, use_tqdm):
        torch.rand(1)  # it draws from torch's stream
        answers = []
        for prompt, given in zip(prompts, wanted, strict=True):
            drawn = self.twin.draw(prompt["prompt_token_ids"], given.seed, given.max_tokens, given.temperature)
            steps = [{i: SimpleNamespace(logprob=value)} for i, value in zip(drawn.ids, drawn.logprobs, strict=True)]
            reason = "length" if drawn.truncated else "stop"
            said = SimpleNamespace(token_ids=list(drawn.ids), logprobs=steps, finish_reason=reason)
            answers.append(SimpleNamespace(outputs=[said]))
        return answers


@pytest.fixture
def vllm(policy, monkeypatch):
    """A module `vllm`: the real one is not where coderl is tested."""
    monkeypatch.setattr(_Llm, "policy", policy, raising=False)
    monkeypatch.setattr(_Llm, "can_pack", True, raising=False)
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=_Llm, SamplingParams=SimpleNamespace))
    for name in ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_LOGGING_LEVEL", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.setenv(name, "")
    return _Llm


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_vllm_in_the_process_draws_by_the_weights_as_they_are_and_leaves_torchs_stream_alone(vllm, temperature):
    own = load_policy(PolicyConfig(model="new:", new=NEW), seed=0, corpus=["def f(x): return x"])
    engine, stream = VllmHere(0.4), torch.get_rng_state()
    for _ in range(2):
        asked = requests(own, 3)
        found = {s.key: s for s in engine.sample(own, asked, max_new_tokens=8, temperature=temperature, batch_size=4)}
        for request in asked:
            expected = logprobs(own, request, found[request.key], temperature)
            torch.testing.assert_close(torch.tensor(found[request.key].logprobs), expected, rtol=1e-4, atol=1e-4)
        with torch.no_grad():
            for parameter in own.model.parameters():
                parameter[..., ::3] *= 1.5
    assert torch.equal(stream, torch.get_rng_state())


def test_vllm_in_the_process_whose_output_layer_stays_as_it_was_is_found_out(vllm, policy):
    vllm.can_pack = False
    with pytest.raises(EngineError, match="does not draw by the weights"):
        sampled(VllmHere(0.4), policy, requests(policy, 1))


def test_no_vllm_to_import_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    config = parse({**CONFIG, "generation": {"engine": "vllm"}})
    with pytest.raises(MissingExtra, match="install it, or name a server"):
        open_engine(config, num_processes=1)


def test_vllm_is_for_one_process():
    config = parse({**CONFIG, "generation": {"engine": "vllm", "engine_url": "http://x", "engine_folder": "y"}})
    with pytest.raises(ConfigError, match="one training process"):
        open_engine(config, num_processes=2)


def test_a_run_on_another_engine_learns_and_logs_what_the_sampler_drew_by(tmp_path):
    from test_coderl_processes import config as run_config

    from coderl.run_folder import RunFolder
    from coderl.train import run

    section = {"steps": 2, "prompts_per_step": 2, "samples_per_prompt": 4, "importance": "truncate", "kl_coef": 0.01}
    settings = run_config(
        tmp_path,
        "grpo",
        "new:",
        grpo=section,
        generation={"engine": "continuous", "max_new_tokens": 8, "batch_size": 8},
    )
    folder = RunFolder.create(settings)
    run(settings, folder)
    logged = [json.loads(line).get("values") for line in folder.metrics_path.read_text().splitlines()]
    steps = [values for values in logged if values]
    assert len(steps) == 2
    for values in steps:
        assert values["sampler/ratio"] == pytest.approx(1.0, abs=1e-3)
        assert values["sampler/effective_sample_size"] == pytest.approx(1.0, abs=1e-3)
