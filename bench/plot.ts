/**
 * Draws results.
 *
 * @module
 */

import * as echarts from "npm:echarts@^6.1.0";
import type { GroupResult, Result } from "./interleave.ts";

const width = 860;
const margin = { left: 250, right: 130, top: 58, bottom: 26 };
const barHeight = 20;

/** This project's bars stand out from those of its peers and from the references. */
const colours = { own: "#2563eb", reference: "#9ca3af", peer: "#d6d3d1" };

/** A bar chart per group, one below the other, of each contender's ratio to the first reference. */
export function drawPlot(groups: readonly GroupResult[]): string {
  const drawn = groups.filter((group) => usableResults(group).length > 0);
  const heights = drawn.map((group) => (
    usableResults(group).length * barHeight + margin.top + margin.bottom
  ));
  const tops = heights.map((_, index) => sum(heights.slice(0, index)));
  const chart = echarts.init(null, null, {
    renderer: "svg",
    ssr: true,
    width,
    height: Math.max(60, sum(heights)),
  });
  try {
    chart.setOption({
      animation: false,
      backgroundColor: "#ffffff",
      title: drawn.map((group, index) => ({
        text: `${group.id}: ${group.title}`,
        subtext: axisOf(group),
        left: 8,
        top: (tops[index] ?? 0) + 8,
        itemGap: 4,
        textStyle: { fontSize: 13, fontWeight: "bold" },
        subtextStyle: { fontSize: 11 },
      })),
      grid: drawn.map((group, index) => ({
        left: margin.left,
        right: margin.right,
        top: (tops[index] ?? 0) + margin.top,
        height: usableResults(group).length * barHeight,
      })),
      xAxis: drawn.map((_, index) => ({ type: "value", gridIndex: index, min: 0 })),
      yAxis: drawn.map((group, index) => ({
        type: "category",
        gridIndex: index,
        inverse: true,
        data: usableResults(group).map(({ name }) => name),
        axisTick: { show: false },
      })),
      series: drawn.flatMap(makeSeries),
    });
    return chart.renderToSVGString();
  } finally {
    chart.dispose();
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function usableResults(group: GroupResult): readonly Result[] {
  return group.results.filter(({ summary }) => summary !== null);
}

/** What the bars of a group are. */
function axisOf({ unit, better, references }: GroupResult): string {
  const [reference] = references;
  const axis = reference === undefined ? unit : `${unit}, as multiples of ${reference}`;
  return `${axis}; ${better} is better; lines reach from the smallest to the largest sample`;
}

/** The bars of a group, and over each the span of its samples. */
function makeSeries(group: GroupResult, index: number): echarts.SeriesOption[] {
  const [reference] = group.references;
  const base = group.results.find(({ name }) => name === reference)?.summary?.median ?? 1;
  const results = usableResults(group);
  const axes = { xAxisIndex: index, yAxisIndex: index };
  return [
    {
      ...axes,
      type: "bar",
      barWidth: "70%",
      data: results.map(({ name, summary }) => ({
        value: (summary?.median ?? 0) / base,
        itemStyle: { color: colourOf(name, group.references) },
      })),
    },
    {
      ...axes,
      type: "custom",
      data: results.map((
        { summary },
        row,
      ) => [
        row,
        (summary?.min ?? 0) / base,
        (summary?.max ?? 0) / base,
        (summary?.median ?? 0) / base,
      ]),
      renderItem: drawSpan,
      encode: { x: [1, 2], y: 0 },
      z: 3,
    },
  ];
}

function colourOf(name: string, references: readonly string[]): string {
  if (name.startsWith("degu")) return colours.own;
  return references.includes(name) ? colours.reference : colours.peer;
}

/** A line from the smallest to the largest sample, and the median as text behind it. */
function drawSpan(
  _params: echarts.CustomSeriesRenderItemParams,
  api: echarts.CustomSeriesRenderItemAPI,
): echarts.CustomSeriesRenderItemReturn {
  const row = Number(api.value(0));
  const [left = 0, y = 0] = api.coord([Number(api.value(1)), row]);
  const [right = 0] = api.coord([Number(api.value(2)), row]);
  const style = { stroke: "#374151", lineWidth: 1 };
  const text = Number(api.value(3)).toPrecision(3);
  return {
    type: "group",
    children: [
      { type: "line", shape: { x1: left, y1: y, x2: right, y2: y }, style },
      { type: "line", shape: { x1: left, y1: y - 4, x2: left, y2: y + 4 }, style },
      { type: "line", shape: { x1: right, y1: y - 4, x2: right, y2: y + 4 }, style },
      {
        type: "text",
        style: { text, x: right + 6, y, fill: "#374151", fontSize: 11, verticalAlign: "middle" },
      },
    ],
  };
}
