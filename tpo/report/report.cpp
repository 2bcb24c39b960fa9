#include "tpo/report/report.h"

#include "tensor/check.h"
#include "tensor/file.h"
#include "tpo/report/markdown.h"
#include "tpo/report/sections.h"

namespace thinker {

namespace {

using namespace report;

/// Light and dark; one column on a telephone. The six colours are used by class c0 … c5.
Html style() {
  return R"css(<style>
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2024; --soft: #59636e; --rule: #d8dde3; --box: #f5f7f9;
  --c0: #0072b2; --c1: #c44f00; --c2: #00795a; --c3: #a8477f; --c4: #7a5c00; --c5: #4d5b6a; --good: #00795a; --bad: #c44f00; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e4e8ec; --soft: #a2acb6; --rule: #363d45; --box: #1d2227;
  --c0: #56b4e9; --c1: #f0924a; --c2: #2fc69d; --c3: #e39bc5; --c4: #e0c14a; --c5: #a9b6c4; --good: #2fc69d; --bad: #f0924a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 16px; max-width: 1240px; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7em; line-height: 1.2; margin: .4em 0; overflow-wrap: anywhere; }
h2 { font-size: 1.3em; margin: 1.8em 0 .4em; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1.1em; margin: 1.2em 0 .3em; overflow-wrap: anywhere; }
p, ul { margin: .5em 0; max-width: 75ch; overflow-wrap: anywhere; }
.missing, .head, .legend { color: var(--soft); }
.scroll { overflow-x: auto; margin: .6em 0; }
table { border-collapse: collapse; font-size: .9em; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); max-width: 34em; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
.number { text-align: right; } td.number { white-space: nowrap; } td.label { overflow-wrap: break-word; min-width: 8em; }
.figures { display: grid; gap: 8px 28px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 360px), 1fr)); align-items: start; }
.figures > * { min-width: 0; max-width: 600px; }
figure { margin: .6em 0; } figcaption { font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: 0 16px; font-size: .9em; } .key { display: inline-flex; align-items: center; gap: 6px; overflow-wrap: anywhere; }
svg.swatch { width: 28px; height: 12px; flex: none; } svg.chart { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); } .c4 { color: var(--c4); } .c5 { color: var(--c5); }
.stroke { stroke: currentColor; stroke-width: 2; fill: none; stroke-linejoin: round; } .band { fill: currentColor; opacity: .16; }
.thin { stroke: currentColor; stroke-width: .8; fill: none; opacity: .55; }
.whisker { stroke: currentColor; stroke-width: 1.2; } .mark { fill: currentColor; } .bar { fill: currentColor; }
.hollow { fill: var(--paper); stroke: currentColor; stroke-width: 1.2; } .error { stroke: var(--ink); stroke-width: 1.2; }
.grid { stroke: var(--rule); stroke-width: .7; } .axis { stroke: var(--soft); } .rule { stroke: var(--soft); stroke-width: .7; stroke-dasharray: 3 3; }
details { margin: .3em 0; } summary { cursor: pointer; color: var(--soft); padding: 4px 0; overflow-wrap: anywhere; }
.figures > .wide { max-width: 640px; }
.claims { list-style: none; padding: 0; } .claims li { margin: .5em 0; padding-left: 2em; text-indent: -2em; }
.good { color: var(--good); } .bad { color: var(--bad); }
fieldset { border: 0; padding: 0; margin: .4em 0; display: flex; flex-wrap: wrap; gap: 4px 14px; } legend { float: left; width: 6em; color: var(--soft); }
fieldset label { display: inline-flex; align-items: center; gap: 5px; min-height: 28px; } input { accent-color: var(--c0); }
.cards { counter-reset: cards; } .card { counter-increment: cards; border-top: 1px solid var(--rule); margin: 0; padding: 2px 0; } .card > summary { color: var(--ink); }
.card[open] { padding-bottom: 12px; } .count::before { content: counter(cards); }
.sample { border-top: 1px solid var(--rule); margin-top: 8px; } .head { font-size: .85em; margin: .4em 0 .2em; }
.text, pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--box); padding: 6px 10px; border-radius: 4px; margin: 4px 0; unicode-bidi: isolate; overflow: hidden; }
pre { font-size: .85em; overflow-x: auto; }
.badge { text-indent: 0; display: inline-block; white-space: nowrap; border: 1.5px solid currentColor; border-radius: 9px; padding: 0 7px; font-weight: 600; } .chosen { color: var(--good); } .rejected { color: var(--bad); border-style: dashed; }
@media (max-width: 480px) { svg text { font-size: 14px; } legend { float: none; width: 100%; } }
@media print { figure details::details-content { content-visibility: visible; block-size: auto; } figure, .card { break-inside: avoid; } .filters, .count { display: none; } body { max-width: none; } }
</style>
)css"_html;
}

}  // namespace

std::string report_page(const Experiment& experiment) {
  return report_page(experiment, read_runs(experiment));
}

std::string report_page(const Experiment& experiment, const Runs& runs) {
  const Html head =
      "<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"_html +
      element("title", text(experiment.title)) + "\n"_html + style();
  const Html body = element("h1", text(experiment.title)) + "\n"_html + introduction_section(experiment, runs) +
                    claims_section(experiment) + scores_section(runs) + category_section(runs) + length_section(runs) +
                    parse_section(runs) + exhibits_section(experiment) + judge_section(runs) + pairs_section(runs) +
                    training_section(runs) + samples_section(runs);
  return ("<!doctype html>\n<html lang=\"en\">\n"_html + element("head", head) + "\n"_html + element("body", body) +
          "\n</html>\n"_html)
      .str();
}

std::string report_markdown(const Experiment& experiment) {
  return markdown_page(experiment, read_runs(experiment));
}

void write_report(const Experiment& experiment, const std::string& path) {
  write_file_atomically(path, report_page(experiment));
}

void write_report(const std::vector<std::string>& run_folders, const std::string& title, const std::string& path) {
  write_report(experiment_of_runs(run_folders, title), path);
}

}  // namespace thinker
