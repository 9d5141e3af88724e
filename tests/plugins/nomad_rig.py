# SPDX-License-Identifier: Apache-2.0
"""Nomad's agent on one host, as far as it runs a plugin for dynamic host volumes."""
import json
import os
import pathlib
import shutil
import subprocess
import uuid

import rig

SPACE = "default"


class Result:
    def __init__(self, process):
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr

    @property
    def answer(self):
        """Of one that went well."""
        assert self.code == 0 and self.err == "", self.err
        return json.loads(self.out)

    @property
    def error(self):
        """Of one that did not: one line on standard error, and the same as JSON."""
        assert self.code == 1 and self.err.count("\n") == 1 and self.err.endswith("\n"), (self.code, self.err)
        assert self.err == f"flocker-nomad-plugin: {json.loads(self.out)['error']}\n", (self.err, self.out)
        return json.loads(self.out)["error"]


class Volume:
    """What Nomad has written down of one."""

    def __init__(self, name, space=SPACE, min_bytes=0, max_bytes=0, **parameters):
        self.id, self.name, self.space = str(uuid.uuid4()), name, space
        self.min_bytes, self.max_bytes = min_bytes, max_bytes
        self.parameters = parameters or None
        self.path = ""


class Nomad:
    """`inside`: how a command is made one of this host."""

    def __init__(self, directory, config, run, node_id, port, inside=lambda *command: list(command)):
        self.config, self.node_id, self.port, self.inside = config, node_id, port, inside
        self.users = run / "users"
        self.plugins, self.volumes = directory / "host_volume_plugins", directory / "host_volumes"
        self.plugins.mkdir()
        self.volumes.mkdir()
        self.executable = self.plugins / "flocker"
        self.install()

    def install(self, *options):
        words = [os.environ["FLOCKER_NOMAD_PLUGIN"], "--agent-config", str(self.config), "--control-port",
                 str(self.port), *options]
        self.executable.write_text("#!/bin/sh\nexec " + " ".join(words) + ' "$@"\n')
        self.executable.chmod(0o755)

    def start(self, operation, **variables):
        environment = {"DHV_OPERATION": operation,
                       **{f"DHV_{name.upper()}": str(value) for name, value in variables.items()}}
        # Nomad gives no others; those of sanitizers are not for the plugin.
        environment |= {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
        return subprocess.Popen(self.inside(str(self.executable), operation), env=environment, cwd="/",
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, process, limit=rig.LIMIT_S):
        out, err = process.communicate(timeout=limit)
        process.stdout, process.stderr = out, err
        assert "Sanitizer" not in err and "runtime error" not in err, err
        return Result(process)

    def run(self, operation, **variables):
        return self.finish(self.start(operation, **variables))

    def common(self, volume):
        return {"volumes_dir": self.volumes, "plugin_dir": self.plugins, "node_pool": "default",
                "node_id": self.node_id, "namespace": volume.space, "volume_name": volume.name,
                "volume_id": volume.id, "parameters": json.dumps(volume.parameters)}

    def start_create(self, volume):
        return self.start("create", **self.common(volume), capacity_min_bytes=volume.min_bytes,
                          capacity_max_bytes=volume.max_bytes)

    def create(self, volume):
        return self.finish(self.start_create(volume))

    def created(self, volume):
        answer = self.create(volume).answer
        assert set(answer) == {"path", "bytes"}
        volume.path = answer["path"]
        return pathlib.Path(volume.path)

    def start_delete(self, volume):
        return self.start("delete", **self.common(volume), created_path=volume.path)

    def delete(self, volume):
        return self.finish(self.start_delete(volume))

    def deleted(self, volume):
        result = self.delete(volume)
        assert (result.code, result.out, result.err) == (0, "", ""), result.err

    def reboot(self):
        """What is in /run is gone."""
        shutil.rmtree(self.users)


class Host(Nomad):
    """Beside a host of docker_rig."""

    def __init__(self, host):
        self.host, self.member, self.cluster = host, host.member, host.cluster
        super().__init__(host.dir, host.dir / "agent.yml", host.dir / "run", str(uuid.uuid4()), self.cluster.control.port)
        self.dataset, self.lease = host.dataset, host.lease

    def users_of(self, name):
        return [user.name for user in self.users.glob(self.dataset(name)["dataset_id"] + "/*")]
