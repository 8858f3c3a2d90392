"""Trees of files as the kernels of a board and of a laptop show them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CPU0 = "sys/devices/system/cpu/cpu0"
FREQ = f"{CPU0}/cpufreq"
THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"

PI4 = {
    **{
        f"sys/devices/system/cpu/cpu{n}/cpufreq/{name}": value
        for n in range(4)
        for name, value in {
            "scaling_governor": "ondemand",
            "scaling_driver": "cpufreq-dt",
            "scaling_cur_freq": "1500000",
            "scaling_min_freq": "600000",
            "scaling_max_freq": "1500000",
            "cpuinfo_max_freq": "1500000",
        }.items()
    },
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "58913",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal",
    "sys/class/hwmon/hwmon0/temp1_input": "58426",
    "sys/class/hwmon/hwmon1/name": "rpi_volt",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0",
    THROTTLED: "0",
    "proc/meminfo": "MemTotal: 3884328 kB\nSwapTotal: 102396 kB\nSwapFree: 101116 kB",
    "proc/pressure/cpu": "some avg10=1.55 avg60=1.10 avg300=0.78 total=3762975087",
}
LAPTOP = {
    f"{FREQ}/scaling_governor": "powersave",
    f"{FREQ}/scaling_driver": "intel_pstate",
    f"{FREQ}/scaling_cur_freq": "3412345",
    f"{FREQ}/scaling_min_freq": "400000",
    f"{FREQ}/scaling_max_freq": "4700000",
    f"{FREQ}/cpuinfo_max_freq": "4700000",
    f"{FREQ}/base_frequency": "1800000",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "0",
    f"{CPU0}/thermal_throttle/core_throttle_count": "3",
    f"{CPU0}/thermal_throttle/package_throttle_count": "4",
    "sys/class/thermal/thermal_zone0/type": "acpitz",
    "sys/class/thermal/thermal_zone0/temp": "25000",
    "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp",
    "sys/class/thermal/thermal_zone1/temp": "61000",
    "sys/class/hwmon/hwmon0/name": "nvme",
    "sys/class/hwmon/hwmon0/temp1_input": "80850",
    "sys/class/hwmon/hwmon1/name": "coretemp",
    "sys/class/hwmon/hwmon1/temp1_input": "62000",
    "sys/class/hwmon/hwmon1/temp2_input": "64000",
}


def grow(root: Path, files: Mapping[str, str]) -> Path:
    """Write the files below the root, over those that are there."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n")
    return root
