"""The page's style sheet: light, dark, narrow and printed.

The colours are those of M. Okabe and K. Ito, Color Universal Design (2008), which people with
any kind of colour vision tell apart; lighter ones on dark ground.
"""

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--raised:#f6f7f9;--line:#dfe2e7;--ink:#1b1f26;
--soft:#5a6270;--accent:#0072b2;--good:#00795a;--bad:#b8400a;--c0:#0072b2;--c1:#d55e00;
--c2:#009e73;--c3:#b65a92;--c4:#c98a00;--c5:#3a9bd6;--c6:#6b5bb0;--c7:#6c737e}
@media screen and (prefers-color-scheme:dark){
:root{--ground:#14171c;--raised:#1d2128;--line:#343a45;--ink:#e8eaee;--soft:#a0a8b5;
--accent:#62b5ec;--good:#3ecfa4;--bad:#ff9361;--c0:#4ba9e8;--c1:#ff8a4a;--c2:#2ec59a;
--c3:#e493c4;--c4:#f0b73c;--c5:#8fd0f8;--c6:#a99af0;--c7:#a5adb9}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI", Roboto,sans-serif;
font-variant-numeric:tabular-nums}
main,header,footer{max-width:1120px;margin:0 auto;padding:0 20px}
header{padding-top:32px}
h1{font-size:28px;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:20px;margin:44px 0 12px;padding-top:14px;border-top:1px solid var(--line)}
h3{font-size:15px;margin:22px 0 6px}
p{margin:0 0 8px}
a{color:var(--accent)}
.origin,.notes,.how{color:var(--soft)}
nav{margin:12px 0;display:flex;flex-wrap:wrap;gap:4px 16px}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--raised);
padding:1px 5px;border-radius:4px;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;margin:16px 0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
.alert{border:1px solid var(--bad);border-left-width:5px;border-radius:6px;padding:10px 14px;
margin:14px 0}
.alert ul{margin:4px 0 0;padding-left:20px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:12px;
margin:12px 0}
.card{background:var(--raised);border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.card h3{margin:0;font-weight:500;font-size:13px;color:var(--soft)}
.card p{margin:0;overflow-wrap:anywhere}
.card .who{font-weight:600}
.card .figure{font-size:26px;line-height:1.25;font-weight:650;letter-spacing:-.01em}
.card .more{font-size:13px;color:var(--soft)}
.split{display:grid;grid-template-columns:minmax(0,720px) minmax(0,1fr);gap:8px 32px;
align-items:start}
.split .notes{margin-top:30px}
.pair{display:grid;gap:12px;grid-template-columns:minmax(0,1fr)}
.scroll{overflow-x:auto;max-width:100%}
.scroll:focus-visible{outline:2px solid var(--accent)}
table{border-collapse:collapse;font-size:13px;min-width:100%;margin:6px 0}
caption{text-align:left;color:var(--soft);padding:4px 0;white-space:nowrap}
th,td{text-align:right;padding:5px 10px;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600}
thead th{color:var(--soft);font-weight:500;border-bottom-color:var(--soft)}
th:first-child,td:first-child{padding-left:0}
.words{text-align:left}
.meter{background:linear-gradient(var(--c0),var(--c0)) no-repeat right/var(--part) 3px}
.meter{background-position:right bottom}
.bar,.meter,.card{print-color-adjust:exact}
tbody tr:hover{background:var(--raised)}
.notes,.verdicts{margin:6px 0;padding-left:18px;font-size:13px}
.verdicts{font-size:15px}
svg{display:block;width:100%;min-width:600px;height:auto}
text{font-size:12px;fill:var(--ink)}
text.tick,text.axis,text.figures{fill:var(--soft)}
text.label,text.best,text.figures{paint-order:stroke;stroke:var(--ground);stroke-width:3px;
stroke-linejoin:round}
text.best{font-weight:650}
.grid{stroke:var(--line)}
.base{stroke:var(--soft);stroke-width:.75}
.source{stroke:var(--soft);stroke-dasharray:5 4}
.front{fill:none;stroke:var(--ink);stroke-width:1.75;opacity:.55}
.size{fill:none;stroke:var(--soft)}
.disc{fill:var(--hue);fill-opacity:.32;stroke:var(--hue);stroke-width:1.75}
.disc.hollow{fill:none;stroke-dasharray:4 3}
.whisker{stroke:var(--hue);stroke-width:1.5;fill:none}
.leader{stroke:var(--soft);stroke-width:.75}
.chip{fill:var(--hue)}
.hill{fill:var(--hue);fill-opacity:.38;stroke:var(--hue);stroke-width:.75}
.hill.hollow{fill:none;stroke-dasharray:3 2}
.dots{stroke:var(--hue);stroke-width:4;stroke-linecap:round;opacity:.65}
.mark{stroke:var(--ink)}
.mark.p50{stroke-width:1.75}
.mark.p90{stroke-dasharray:4 2}
.mark.p99{stroke-dasharray:1.5 2}
.launch{stroke:var(--hue);stroke-width:2}
.tail{fill:var(--soft);opacity:.08}
.break{fill:none;stroke:var(--ink)}
.curve{fill:none;stroke:var(--hue);stroke-width:1.5}
.one{stroke:var(--ink)}
.noise{fill:var(--soft);opacity:.2}
.ratio{stroke:var(--c7);fill:none;stroke-width:2}
circle.ratio{fill:var(--ground)}
.ratio.good{stroke:var(--good)}
circle.ratio.good{fill:var(--good)}
.ratio.bad{stroke:var(--bad)}
circle.ratio.bad{fill:var(--bad)}
.bar{display:flex;height:30px;border-radius:6px;overflow:hidden;gap:1px;margin:8px 0}
.part{background:color-mix(in srgb,var(--hue) 40%,var(--ground));border-left:3px solid var(--hue);
font-size:12px;line-height:30px;padding-left:6px;white-space:nowrap;overflow:hidden;font-weight:600}
footer{padding:28px 20px 40px;color:var(--soft);font-size:13px}
@media(max-width:900px){
.split{grid-template-columns:minmax(0,1fr)}
.split .notes{margin-top:0}}
@media(max-width:520px){
main,header,footer{padding-left:14px;padding-right:14px}
h1{font-size:23px}
dl{grid-template-columns:1fr;gap:0}
dd{margin-bottom:8px}}
@media print{
:root{color-scheme:light;--ground:#fff;--raised:#fff;--line:#ccc;--ink:#000;--soft:#444}
body,.notes,.verdicts{font-size:11px}
nav{display:none}
h2{break-after:avoid}
.plot,.card,tr{break-inside:avoid}
.scroll{overflow:visible}
svg{min-width:0}
table{font-size:8px}
th,td{padding:2px 4px;white-space:normal}}
""" + "".join(f".c{i}{{--hue:var(--c{i})}}" for i in range(8))  # fmt: skip
