"""What `solo-gedi evaluate` measures: one method a task."""

import argparse
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from solo_gedi import evaluation, hosts
from solo_gedi.data import spec_of
from solo_gedi.errors import ConfigError
from solo_gedi.evaluation.probe import probe_config
from solo_gedi.files import write_json
from solo_gedi.inference import load as trained
from solo_gedi.methods.kwargs import SGLD
from solo_gedi.report import plots
from solo_gedi.report.page import Figure, Table, Text, write_report
from solo_gedi.training import loaders
from solo_gedi.training.callbacks.divergence_guard import step_size_factor
from solo_gedi.training.callbacks.sample_grid import save_grid
from solo_gedi.training.linear import linear

IMAGE_STEPS = (0, 20, 100, 500)  # of the pictures, as in the paper's figures
POINT_STEPS = (0, 100, 1000, 3000)  # the toy sets' steps are tiny
SCORES = {"neg_grad_norm": "-||grad_x log p||", "log_density": "log p", "max_softmax": "max p(y|x)"}


class Evaluation:
    """One run under evaluation: what its tasks share, and what they found.

    Args:
        run: the pretrained method.
        given: the command's options.
        probe: changes to the linear probe's config.
    """

    def __init__(self, run: trained.Trained, given: argparse.Namespace, probe: DictConfig) -> None:
        self.run, self.given, self.probe = run, given, probe
        data, spec = run.cfg.data, spec_of(run.cfg.data.dataset)
        if test_path := data.get("test_path"):
            data.val_path = test_path  # a run validates on val_path, and is compared on this
        self.is_points = spec.points is not None
        named = data.dataset in ("digits", "custom")
        self.split = str(data.val_path) if named else "fresh points" if self.is_points else "test"
        self.results: list[dict[str, Any]] = []
        self.figures: list[Figure] = []

    def add(self, task: str, protocol: str, **metrics: float) -> None:
        """Keep numbers, each with how and on what it was measured."""
        for metric, value in metrics.items():
            row = {"task": task, "metric": metric, "protocol": protocol, "split": self.split}
            self.results.append({**row, "value": value})
            print(f"  {metric} {value:.4f}  [{protocol}; {self.split}]", flush=True)

    def draw(self, name: str, title: str, note: str = "") -> Path:
        """The file of a figure that the report will show."""
        self.figures.append(Figure(title, self.run.folder / f"{name}.png", note))
        return self.figures[-1].path

    @cached_property
    def test_loader(self) -> Any:
        """Batches of the test split, without augmentation."""
        return loaders.plain_loader(self.run.cfg, train=False)

    @cached_property
    def test(self) -> evaluation.Features:
        """Features of the test split."""
        return evaluation.extract(self.run.model, self.test_loader)

    def clustering(self) -> None:
        """Agreement of clusters with labels."""
        test, cfg = self.test, self.run.cfg
        head = {"swav": "prototypes", "gedi": "cluster head", "jem": "cluster head"}
        by_head = f"argmax of the {head.get(cfg.method, 'projector')}"
        by_kmeans = f"k-means (k={cfg.data.num_classes}) on the features"
        kmeans = evaluation.kmeans_clusters(test.feats, cfg.data.num_classes)
        for protocol, clusters in ((by_head, test.clusters), (by_kmeans, kmeans)):
            self.add("clustering", protocol, **evaluation.clustering_metrics(test.labels, clusters))
        for size in (64, 100):
            batched = evaluation.minibatch_nmi(test.labels, test.clusters, size)
            protocol = f"{by_head}, mean over mini-batches of {size}"
            self.add("clustering", protocol, minibatch_nmi=batched["nmi"])
            self.add("clustering", f"{protocol}: chance level", minibatch_nmi=batched["chance"])
        if self.is_points:
            self._draw_clusters()

    def _draw_clusters(self) -> None:
        model, space = self.run.model, self.run.space
        path = self.draw("clusters", "Clusters and their regions (Figure 3)")
        points = torch.cat([x for x, _ in self.test_loader])

        def cluster_of(x: Tensor) -> Tensor:
            return evaluation.scores(model(x.to(model.device)), model).argmax(1).cpu()

        with torch.inference_mode():
            draw = partial(
                plots.draw_clusters, cluster_of=cluster_of, points=points, box=space.high
            )
            plots.save_panels({"": draw}, path)

    def triad(self) -> None:
        """The failure modes, and how far the energies of data and chains have run apart."""
        run = self.run
        noise = (run.cfg.get("method_kwargs") or {}).get("input_noise_std", 0.03)
        measured = evaluation.triad(run.model, run.space, self.test_loader, noise)
        self.add("triad", f"features and clusters; views by noise of std {noise}", **measured)
        density = evaluation.log_density_of(run.model, run.space)
        x = torch.cat([x for x, _ in self.test_loader])
        sets = {"data": run.space.to_samples(x), "chains": run.chains}
        with torch.inference_mode():
            for name, points in sets.items():
                if points is not None:
                    mean = float(density(points[:1000].to(run.model.device)).mean())
                    self.add("triad", f"mean log p of the {name}", log_density=mean)

    def linear(self) -> None:
        """solo-learn's offline linear probe."""
        if self.is_points:
            raise ConfigError("the linear probe is for images, not for points")
        cfg = probe_config(self.run, self.given.linear_config, self.probe)
        optimizer, rate = cfg.optimizer, cfg.optimizer.lr * cfg.optimizer.batch_size / 256
        protocol = (
            f"offline linear probe: {optimizer.name}, learning rate {rate:.3g}, "
            f"{cfg.max_epochs} epochs, batch {optimizer.batch_size}"
        )
        self.add("linear", protocol, accuracy=linear(cfg))

    def knn(self) -> None:
        """solo-learn's weighted kNN."""
        train = evaluation.extract(self.run.model, loaders.plain_loader(self.run.cfg, train=True))
        accuracy = evaluation.knn_accuracy(train, self.test)
        self.add("knn", "offline weighted kNN, k=20, on the features", accuracy=accuracy)

    def ood(self) -> None:
        """AUROC of telling the test set from others."""
        run, space = self.run, self.run.space
        own = run.cfg.data.dataset
        scores = {own: evaluation.ood_scores(run.model, space, self.test_loader)}
        missing = []
        for name in filter(None, self.given.ood.split(",")):
            if name == "shuffled" and self.is_points:
                continue
            try:
                scores[name] = evaluation.ood_scores(run.model, space, self._other(name))
            except ConfigError as error:
                missing.append(str(error))
                continue
            for score, label in SCORES.items():
                auroc = evaluation.auroc(scores[own][score], scores[name][score])
                self.add("ood", f"{label}, against {name}", auroc=auroc)
        if len(scores) > 1:
            note = "Higher means in-distribution, for every score."
            plots.score_histograms(scores, self.draw("ood", "Out-of-distribution scores", note))
        if missing:
            raise ConfigError("; ".join(missing))

    def _other(self, name: str) -> Any:
        """Batches of a data set that the method was not trained on."""
        if make := evaluation.SYNTHETIC.get(name):
            return [(make(x, self.run.space), y) for x, y in self.test_loader]
        return loaders.plain_loader(loaders.other_data(self.run.cfg, name), train=False)

    def fid(self) -> None:
        """Fréchet distance between samples and the test set."""
        if self.is_points:
            raise ConfigError("the Fréchet distance is for images, not for points")
        run, given = self.run, self.given
        name, features = self._features()
        real = [run.space.to_samples(x) for x, _ in self.test_loader]
        chains = self._chains(given.start, min(given.num_samples, sum(map(len, real))))
        samples = self._sample(chains, (given.steps,))[given.steps]
        distance = evaluation.frechet_distance(features, real, samples.split(100), run.model.device)
        protocol = (
            f"{len(samples)} samples after {given.steps} SGLD steps from "
            f"{'fresh chains' if given.start == 'fresh' else 'the buffer'}, against the test set"
        )
        self.add("fid", protocol, **{name: distance})

    def _features(self) -> tuple[str, evaluation.SampleFeatures]:
        """The network of the Fréchet distance, and what the distance is called with it."""
        given, run = self.given, self.run
        if given.fid_features == "inception":
            return "FID", evaluation.inception_features(given.inception_weights)
        own = given.fid_features == "backbone"
        other = run if own else trained.load(Path(given.fid_features))
        name = "the run's own backbone" if own else f"the backbone of {given.fid_features}"
        features = evaluation.SampleFeatures(
            other.model.backbone, other.space.to_input, other.model.features_dim
        )
        return f"Fréchet distance on {name}", features

    def samples(self) -> None:
        """Pictures of chains on their way."""
        sgld, space = self._sgld(), self.run.space
        note = f"Step size {sgld.step_size}, noise {sgld.noise_std}, after each number of steps."
        for start in ("fresh", "buffer"):
            if start == "buffer" and self.run.chains is None:
                continue
            title = "fresh chains" if start == "fresh" else "the replay buffer"
            number, steps = (400, POINT_STEPS) if self.is_points else (64, IMAGE_STEPS)
            drawn = self._sample(self._chains(start, number), steps)
            draw = plots.draw_images
            if self.is_points:
                log_p = evaluation.log_density_of(self.run.model, space)
                density = partial(self._on_cpu, log_p)
                draw = partial(plots.draw_energy, density=density, box=space.high)
            else:
                for count, images in drawn.items():
                    save_grid(images, self.run.folder / "samples" / f"{start}-steps={count}.png")
            panels = {
                f"{count} steps": partial(draw, samples=moved) for count, moved in drawn.items()
            }
            plots.save_panels(panels, self.draw(f"samples_{start}", f"Samples from {title}", note))

    def _on_cpu(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return function(x.to(self.run.model.device)).cpu()

    def _sgld(self) -> SGLD:
        """The run's own sampler, as it ended, or that of Tables 3 and 5."""
        defaults = SGLD(step_size=5e-5) if self.is_points else SGLD()
        own = (self.run.cfg.get("method_kwargs") or {}).get("sgld") or {}
        merged: Any = OmegaConf.merge(OmegaConf.structured(defaults), own)
        merged.step_size *= step_size_factor(self.run.events)
        return merged

    def _chains(self, start: str, number: int) -> Tensor:
        run, generator = self.run, torch.Generator().manual_seed(0)
        if start == "buffer":
            if run.chains is None:
                raise ConfigError(f"--start=buffer: {run.cfg.method} has no replay buffer")
            order = torch.randperm(len(run.chains), generator=generator)
            return run.chains[order[:number]]
        shape = next(iter(self.test_loader))[0].shape[1:]
        return run.space.uniform((number, *shape), generator=generator)

    def _sample(self, chains: Tensor, steps: tuple[int, ...]) -> dict[int, Tensor]:
        run, sgld = self.run, self._sgld()
        generator = torch.Generator(run.model.device).manual_seed(0)
        return evaluation.draw_samples(
            *(run.model, run.space, chains, steps, sgld.step_size, sgld.noise_std),
            max_grad_norm=sgld.max_grad_norm,
            box=run.space.box if sgld.clip_samples else None,
            generator=generator,
        )

    def write(self, not_done: dict[str, str]) -> dict[str, Any]:
        """Write `metrics.json`, last and whole, and `report.html`."""
        run, cfg = self.run, self.run.cfg
        metrics = {
            "status": "finished",
            "method": cfg.method,
            "dataset": cfg.data.dataset,
            "seed": cfg.seed,
            "host": hosts.describe(),
            "checkpoint": run.checkpoint.name,
            "epochs": run.epochs,
            "divergence": run.events,
            "config": OmegaConf.to_container(cfg),
            "results": self.results,
            "not_done": not_done,
            "figures": [figure.path.name for figure in self.figures],
        }
        about = (
            f"{cfg.method} on {cfg.data.dataset}, {run.epochs} epochs, seed {cfg.seed}, with "
            f"{hosts.describe()}; checkpoint {run.checkpoint.name}. Unless a protocol says "
            f"otherwise, everything is measured offline on the {self.split} split."
        )
        rows = [{k: v for k, v in row.items() if k != "task"} for row in self.results]
        parts: list[Text | Table | Figure] = [Text("The run", about), Table("Numbers", rows)]
        if run.events:
            undone = [{"undone by the divergence guard": event} for event in run.events]
            parts.append(Table("Divergence", undone))
        if not_done:
            parts.append(Table("Not done", [{"task": k, "reason": v} for k, v in not_done.items()]))
        write_report(run.folder / "report.html", cfg.name, [*parts, *self.figures])
        write_json(run.folder / "metrics.json", metrics)
        print(f"Report: {run.folder / 'report.html'}", flush=True)
        return metrics


TASKS: dict[str, Callable[[Evaluation], None]] = {
    "clustering": Evaluation.clustering,
    "triad": Evaluation.triad,
    "linear": Evaluation.linear,
    "knn": Evaluation.knn,
    "ood": Evaluation.ood,
    "fid": Evaluation.fid,
    "samples": Evaluation.samples,
}
