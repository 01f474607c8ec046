"""Style sheet of the page: system fonts, light and dark, one column on a phone."""

STYLE = """
:root{color-scheme:light dark;--text:#1d2430;--soft:#5d6878;--paper:#fff;--back:#f4f5f7;--rule:#dfe3e9;--warn:#8a5a00;
--warnback:#fff6e0;--link:#1f5fbf;--c0:#1f6fc4;--c1:#d9661f;--c2:#2a9263;--c3:#b0479a;--c4:#8a6d1b;--c5:#c2363f;
--c6:#3a8fa8;--c7:#6b6f7a}
@media(prefers-color-scheme:dark){:root{--text:#e4e8ee;--soft:#9aa5b4;--paper:#1a1f27;--back:#12161c;--rule:#313946;
--warn:#f0c674;--warnback:#2c2617;--link:#7fb2f5;--c0:#62a8f0;--c1:#f2935a;--c2:#5cc795;--c3:#d98bc9;--c4:#cfb252;
--c5:#ef7a80;--c6:#6cc3da;--c7:#a5abb8}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);line-height:1.5;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-size:15px}
main{max-width:1140px;margin:0 auto;padding:28px 20px 40px}
h1{font-size:28px;line-height:1.2;margin:0 0 8px;overflow-wrap:anywhere}
h2{font-size:19px;margin:0 0 12px}
h3{font-size:14px;margin:0 0 6px;font-weight:600;overflow-wrap:anywhere}
h3 small{font-weight:400;color:var(--soft)}
p{margin:0 0 10px}
.summary{font-size:16px;color:var(--soft);max-width:75ch}
section{background:var(--paper);border:1px solid var(--rule);border-radius:8px;padding:18px 20px;margin-top:18px}
.tiles{display:flex;flex-wrap:wrap;gap:10px;margin:16px 0}
.tiles div{background:var(--paper);border:1px solid var(--rule);border-radius:8px;padding:10px 16px;min-width:112px}
.tiles b{display:block;font-size:21px;font-weight:600;white-space:nowrap;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:13px}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:14px}
a{color:var(--link);text-decoration:none}
a:hover{text-decoration:underline}
.warnings,.missing{background:var(--warnback);color:var(--warn);border-radius:8px;padding:10px 14px;margin:0 0 14px}
.warnings{padding-left:32px}
.notes{color:var(--soft);margin:0 0 14px;padding-left:20px;font-size:14px}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(310px,100%),1fr));gap:20px 24px;margin-bottom:8px}
.pair .grid{grid-template-columns:repeat(auto-fit,minmax(min(310px,100%),1fr))}
.grid+h3{margin-top:18px}
figure{margin:0;min-width:0}
figcaption{color:var(--soft);font-size:13px}
svg,img{display:block;width:100%;height:auto}
img{border-radius:6px}
svg text{fill:var(--soft);font-size:12px;font-variant-numeric:tabular-nums}
svg path{vector-effect:non-scaling-stroke}
.gridline{stroke:var(--rule)}
.axis,.zero{stroke:var(--soft);fill:none}
.zero{stroke-dasharray:2 3}
.line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}
.line.dashed{stroke-dasharray:5 3}
.points,.marks{fill:none;stroke:var(--c);stroke-linecap:round;stroke-width:3.5}
.points{opacity:.3}
.points.few{opacity:.5;stroke-width:6}
.marks{stroke-width:7}
.bars{fill:var(--c);fill-opacity:.35;stroke:var(--c)}
.band{fill:var(--c);fill-opacity:.16;stroke:none}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}
.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:13px;margin:2px 0 4px}
.legend span{display:inline-flex;align-items:center;gap:6px}
.legend i{width:14px;height:4px;border-radius:2px;background:var(--c)}
.legend i.dashed{background:linear-gradient(90deg,var(--c) 40%,transparent 40% 60%,var(--c) 60%)}
.legend i[style]{height:12px}
.pair{margin-top:18px}
.scroll{overflow-x:auto;margin-bottom:12px}
table{border-collapse:separate;border-spacing:0;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:5px 12px;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top}
th:first-child{padding-left:0}
th{font-weight:600}
thead th{color:var(--soft);font-weight:500;vertical-align:bottom}
.numeric td,.numeric thead th+th{text-align:right}
.numeric td{white-space:nowrap}
.numeric tbody th{position:sticky;left:0;background:var(--paper)}
.shade{display:block;margin:-5px -12px;padding:5px 12px;
background:color-mix(in srgb,var(--c2) calc(var(--s)*60%),transparent)}
.text th{white-space:nowrap}
.text td{overflow-wrap:anywhere}
details{margin:8px 0}
summary{cursor:pointer;color:var(--link)}
details>*:not(summary){margin-top:8px}
pre{overflow:auto;max-height:480px;margin:8px 0 0;
background:var(--back);border-radius:6px;padding:12px;font-size:12.5px}
footer{color:var(--soft);font-size:13px;margin-top:18px}
@media(max-width:600px){main{padding:18px 10px 30px}section{padding:14px 12px}.tiles div{flex:1}}
"""
