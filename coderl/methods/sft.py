"""SFT: imitate the reference solutions of tasks."""

from __future__ import annotations

from coderl.algorithms.sft import sft_loss
from coderl.config import SftConfig
from coderl.errors import ConfigError
from coderl.experience import Example, MicroBatch
from coderl.methods.base import Experience, MethodBase, TokenLoss
from coderl.seeds import cursor
from coderl.workbench import Workbench


class Sft(MethodBase):
    """Batches are drawn from endless permutations of the tasks that have a reference solution."""

    def __init__(self, bench: Workbench, config: SftConfig, label: str) -> None:
        super().__init__(bench.policy, config.optimizer.learning_rate)
        self.config, self._bench, self._label = config, bench, label
        self._tasks = [task for task in bench.sft_tasks if task.reference]
        if not self._tasks:
            raise ConfigError("tasks.sft: none of its tasks has a reference solution to learn from")

    def collect(self, step: int) -> Experience:
        size = self.config.batch_size
        indices = cursor(self._bench.config.seed, self._label, len(self._tasks), step * size, size)
        return Experience(examples=[self._example(index) for index in self._bench.share(indices)])

    def loss(self, batch: MicroBatch, step: int) -> TokenLoss:
        return TokenLoss(sft_loss(self._policy.logprobs(batch, 1.0)), {})

    def _example(self, index: int) -> Example:
        task = self._tasks[index]
        prompt = self._bench.renderer.render(task)
        completion = self._policy.encode_completion(self._bench.renderer.target(task, prompt))
        return Example(prompt_ids=prompt.ids, completion_ids=completion)
