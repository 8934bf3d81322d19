"""The pictures, as SVG whose text stays text. Needs Debian's python3-matplotlib (make bench-deps); without it there are none."""
import sys

COLOURS = {"bare": "#9a9a9a", "tova-host": "#c0392b", "C worker": "#d98880", "Python worker": "#e6b0aa", "script": "#f2d7d5",
           "isolated": "#cd6155", "Node.js worker": "#d7a19b", "Bun": "#2e86c1", "ws": "#1e8449", "lws": "#7d3c98",
           "websocketd": "#b7950b", "nchan": "#566573"}
FALLBACK = "#34495e"


def library():
    try:
        import matplotlib
    except ImportError:
        print("no pictures: python3-matplotlib is not installed (make bench-deps)", file=sys.stderr)
        return None
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tova", "font.family": "sans-serif", "font.size": 8,
                                "axes.spines.top": False, "axes.spines.right": False})
    import matplotlib.pyplot
    return matplotlib.pyplot


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight", facecolor="white")
    print(f"{path}", file=sys.stderr)


def times(ratio):
    return f"{ratio:,.0f}×" if ratio >= 100 else f"{ratio:.1f}×" if ratio >= 10 else f"{ratio:.2f}×"


def bars(panels, path):
    """panels: (title, what the figure is, [(name, ratio, smallest, largest, figure as text)])."""
    pyplot = library()
    if pyplot is None:
        return
    columns = 2
    lines = (len(panels) + columns - 1) // columns
    most = max(len(p[2]) for p in panels)
    figure, axes = pyplot.subplots(lines, columns, figsize=(10, lines * (0.55 + 0.19 * most)), squeeze=False)
    for axis in axes.flat[len(panels):]:
        axis.axis("off")
    for axis, (title, unit, found) in zip(axes.flat, panels):
        places = range(len(found))
        axis.barh(places, [b[1] for b in found], color=[COLOURS.get(b[0], FALLBACK) for b in found], height=0.7,
                  xerr=[[b[1] - b[2] for b in found], [b[3] - b[1] for b in found]], error_kw={"linewidth": 0.8, "ecolor": "#222222"})
        axis.set_yticks(list(places), [b[0] for b in found])
        axis.invert_yaxis()
        axis.set_xscale("log")
        axis.set_xlim(0.5, max(b[3] for b in found) * 3)
        axis.axvline(1, color="#9a9a9a", linewidth=0.8)
        for place, bar in zip(places, found):
            axis.text(bar[3] * 1.08, place, f"{times(bar[1])} ({bar[4]})", va="center", fontsize=7)
        axis.set_title(f"{title} ({unit})", loc="left", fontsize=8.5)
        axis.minorticks_off()
        axis.tick_params(length=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    figure.tight_layout()
    save(figure, path)


def curves(panels, path, columns=2):
    """panels: (title, name of x, name of y, logarithmic y, {line's name: [(x, median, smallest, largest)]})."""
    pyplot = library()
    if pyplot is None:
        return
    lines = (len(panels) + columns - 1) // columns
    figure, axes = pyplot.subplots(lines, columns, figsize=(10, 3.1 * lines), squeeze=False)
    for axis in axes.flat[len(panels):]:
        axis.axis("off")
    for axis, (title, x_name, y_name, logarithmic, found) in zip(axes.flat, panels):
        for name, points in found.items():
            colour = COLOURS.get(name)
            line = axis.plot([p[0] for p in points], [p[1] for p in points], marker="o", markersize=3, linewidth=1.2, label=name, color=colour)
            axis.fill_between([p[0] for p in points], [p[2] for p in points], [p[3] for p in points], alpha=0.2, linewidth=0,
                              color=line[0].get_color())
        axis.set_xscale("log")
        if logarithmic:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.minorticks_off()
        axis.set_title(title, loc="left", fontsize=9)
        axis.set_xlabel(x_name)
        axis.set_ylabel(y_name)
        axis.grid(True, which="major", linewidth=0.3, color="#cccccc")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
        axis.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    save(figure, path)
