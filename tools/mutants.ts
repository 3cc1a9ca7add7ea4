/**
 * The mutants of a module: small changes of its code, each of which a test should detect. A change
 * without any visible effect can't be detected, and has an entry in
 * `tests/<room>/equivalent_mutants.ts`.
 *
 * Numbers that never show have no mutants: the number of a constant at the top of a module, unless
 * a document names it; the number of a sentinel, `-1`; and the initial number of a class's member.
 */

import ts from "npm:typescript@^5.9.3";

export interface Mutant {
  readonly path: string;
  readonly line: number;
  readonly before: string;
  readonly after: string;
  /** The range of the code in the module's text, in UTF-16 code units. */
  readonly start: number;
  readonly end: number;
  /** Whether an entry says that no test can detect the change. */
  readonly isEquivalent: boolean;
}

/**
 * The changes of a room that no test can detect: by the path of the module, and by the name of the
 * declaration around the code (`function`, `Class.member`, `CONSTANT`). Each entry has enough of
 * the code to find the place, the code after the change, and the reason why nobody can see the
 * difference. A removed statement never has an entry.
 */
export type EquivalentMutants = {
  readonly [file: string]: {
    readonly [name: string]: readonly (readonly [before: string, after: string, reason: string])[];
  };
};

const OPERATORS: ReadonlyMap<ts.SyntaxKind, string> = new Map([
  [ts.SyntaxKind.LessThanToken, "<="],
  [ts.SyntaxKind.LessThanEqualsToken, "<"],
  [ts.SyntaxKind.GreaterThanToken, ">="],
  [ts.SyntaxKind.GreaterThanEqualsToken, ">"],
  [ts.SyntaxKind.EqualsEqualsEqualsToken, "!=="],
  [ts.SyntaxKind.ExclamationEqualsEqualsToken, "==="],
  [ts.SyntaxKind.AmpersandAmpersandToken, "||"],
  [ts.SyntaxKind.BarBarToken, "&&"],
  [ts.SyntaxKind.QuestionQuestionToken, "&&"],
  [ts.SyntaxKind.PlusToken, "-"],
  [ts.SyntaxKind.MinusToken, "+"],
  [ts.SyntaxKind.AsteriskToken, "/"],
  [ts.SyntaxKind.SlashToken, "*"],
  [ts.SyntaxKind.PercentToken, "*"],
  [ts.SyntaxKind.PlusEqualsToken, "-="],
  [ts.SyntaxKind.MinusEqualsToken, "+="],
  [ts.SyntaxKind.AmpersandToken, "|"],
  [ts.SyntaxKind.BarToken, "&"],
]);

/** The replacement of an ExpressionStatement, which is never equivalent. */
const REMOVED = ";";

/**
 * The mutants of a module, in the order of its text, and the problems of the entries about the
 * module.
 */
export function mutantsOf(
  path: string,
  text: string,
  equivalent: EquivalentMutants,
  documents: string,
): { readonly mutants: Mutant[]; readonly problems: string[] } {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const edits = Object.entries(equivalent[path] ?? {}).flatMap(([name, rows]) => {
    return rows.map(([before, after]) => new Edit(source, name, before, after));
  });
  const mutants: Mutant[] = [];
  const add = (start: number, end: number, after: string) => {
    const line = source.getLineAndCharacterOfPosition(start).line + 1;
    const before = text.slice(start, end);
    const edited = text.slice(0, start) + after + text.slice(end);
    const same = edits.filter(({ texts }) => after !== REMOVED && texts.includes(edited));
    for (const edit of same) edit.isMatched = true;
    const isEquivalent = same.length > 0;
    mutants.push({ path, line, before, after, start, end, isEquivalent });
  };
  const visit = (node: ts.Node): void => {
    if (isOutside(node)) return;
    mutate(node, source, documents, add);
    ts.forEachChild(node, visit);
  };
  visit(source);
  mutants.sort((a, b) => a.start - b.start || a.end - b.end);
  const problems = edits.filter(({ isMatched }) => !isMatched)
    .map(({ label }) => `${path}, ${label}: no mutant makes this change`);
  return { mutants, problems };
}

/** A change of a declaration, wherever its code occurs there. */
class Edit {
  readonly label: string;
  /** The module's text after the change, for each occurrence. */
  readonly texts: readonly string[];
  isMatched = false;

  constructor(source: ts.SourceFile, name: string, before: string, after: string) {
    this.label = `${name}: \`${before}\` → \`${after}\``;
    const { text } = source;
    this.texts = declarationsOf(source, name).flatMap(({ start, end }) => {
      const edited: string[] = [];
      for (let at = text.indexOf(before, start); at !== -1 && at < end;) {
        edited.push(text.slice(0, at) + after + text.slice(at + before.length));
        at = text.indexOf(before, at + 1);
      }
      return edited;
    });
  }
}

/** The ranges of the declarations with a name such as `Class.member`. */
function declarationsOf(source: ts.SourceFile, name: string): { start: number; end: number }[] {
  const found: { start: number; end: number }[] = [];
  const visit = (node: ts.Node, outer: string): void => {
    const own = declaredName(node);
    const full = own === null ? outer : outer === "" ? own : `${outer}.${own}`;
    if (own !== null && full === name) found.push({ start: node.getStart(source), end: node.end });
    ts.forEachChild(node, (child) => visit(child, full));
  };
  visit(source, "");
  return found;
}

/** The name of a declaration at the top of a module, or of a member; `null` for everything else. */
export function declaredName(node: ts.Node): string | null {
  if (ts.isConstructorDeclaration(node)) return "constructor";
  const isFunctionOrClass = ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node);
  const isNamed = isFunctionOrClass && ts.isSourceFile(node.parent) ||
    ts.isVariableDeclaration(node) && isAtTop(node) || ts.isClassElement(node);
  return isNamed ? node.name?.getText() ?? null : null;
}

function isAtTop({ parent: list }: ts.VariableDeclaration): boolean {
  return ts.isVariableDeclarationList(list) && ts.isVariableStatement(list.parent) &&
    ts.isSourceFile(list.parent.parent);
}

/** Types don't run, and error texts are checked by the tests of messages. */
function isOutside(node: ts.Node): boolean {
  return ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node) || ts.isImportDeclaration(node) ||
    ts.isExportDeclaration(node) || ts.isTemplateExpression(node) ||
    (ts.isNewExpression(node) && /Error$/.test(node.expression.getText()));
}

type Add = (start: number, end: number, after: string) => void;

function mutate(node: ts.Node, source: ts.SourceFile, documents: string, add: Add): void {
  if (ts.isBinaryExpression(node)) {
    const { operatorToken } = node;
    const after = OPERATORS.get(operatorToken.kind);
    if (after !== undefined && !isText(node.left) && !isText(node.right)) {
      add(operatorToken.getStart(source), operatorToken.end, after);
    }
  }
  const condition = conditionOf(node);
  if (condition !== undefined && !isConstant(condition)) {
    const [start, end] = [condition.getStart(source), condition.end];
    // An endless loop is detected only by its time-out, which is too slow.
    if (!isLoop(node)) add(start, end, "true");
    add(start, end, "false");
  }
  if (ts.isNumericLiteral(node) && !isInDeclaredName(node) && !isUnseen(node, documents)) {
    add(node.getStart(source), node.end, String(Number(node.text.replaceAll("_", "")) + 1));
  }
  if (node.kind === ts.SyntaxKind.TrueKeyword) add(node.getStart(source), node.end, "false");
  if (node.kind === ts.SyntaxKind.FalseKeyword) add(node.getStart(source), node.end, "true");
  if (ts.isExpressionStatement(node) && !isSuperCall(node.expression)) {
    add(node.getStart(source), node.end, REMOVED);
  }
  if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken) {
    add(node.getStart(source), node.operand.getStart(source), "");
  }
}

function conditionOf(node: ts.Node): ts.Expression | undefined {
  if (ts.isIfStatement(node) || ts.isWhileStatement(node) || ts.isDoStatement(node)) {
    return node.expression;
  }
  if (ts.isConditionalExpression(node) || ts.isForStatement(node)) return node.condition;
  return undefined;
}

function isLoop(node: ts.Node): boolean {
  return ts.isWhileStatement(node) || ts.isDoStatement(node) || ts.isForStatement(node);
}

function isConstant(node: ts.Expression): boolean {
  return node.kind === ts.SyntaxKind.TrueKeyword || node.kind === ts.SyntaxKind.FalseKeyword;
}

function isText(node: ts.Expression): boolean {
  return ts.isStringLiteralLike(node) || ts.isTemplateExpression(node);
}

/** Whether an increment of a number is invisible. */
function isUnseen(node: ts.NumericLiteral, documents: string): boolean {
  const { parent } = node;
  const isNegative = ts.isPrefixUnaryExpression(parent) &&
    parent.operator === ts.SyntaxKind.MinusToken;
  if (isNegative) return node.text === "1";
  if (ts.isPropertyDeclaration(parent)) return parent.initializer === node;
  if (!ts.isVariableDeclaration(parent) || parent.initializer !== node || !isAtTop(parent)) {
    return false;
  }
  return !isNamed(parent.name.getText(), Number(node.text.replaceAll("_", "")), documents);
}

/**
 * Whether a text names the number of a constant, in any common form: `65536` as 65,536 or 64 KiB.
 */
function isNamed(name: string, value: number, text: string): boolean {
  const digits = String(value).replace(/\B(?=(\d{3})+$)/g, "[,_]?");
  const units = UNITS.find(([suffix]) => name.endsWith(suffix))?.[1];
  const forms = units === undefined
    ? [digits]
    : units.filter(([size]) => value % size === 0).map(([size, unit]) => `${value / size} ${unit}`);
  return new RegExp(`(?<![\\d.,])(${forms.join("|")})(?![\\d]|[.,]\\d)`).test(text);
}

/** The forms of numbers in documents, by the end of the constant's name: a size, and its unit. */
const UNITS: readonly (readonly [string, readonly (readonly [number, string])[]])[] = [
  ["MILLISECONDS", [
    [1, "(ms|milliseconds?)\\b"],
    [1000, "(s|seconds?)\\b"],
    [60_000, "minutes?\\b"],
    [3_600_000, "hours?\\b"],
  ]],
  ["SECONDS", [[1, "(s|seconds?)\\b"], [60, "minutes?\\b"], [3600, "hours?\\b"]]],
  ["BYTES", [[1, "bytes?\\b"], [1024, "KiB"], [1024 ** 2, "MiB"], [1024 ** 3, "GiB"]]],
];

function isInDeclaredName(node: ts.Node): boolean {
  return ts.isPropertyAssignment(node.parent) && node.parent.name === node;
}

function isSuperCall(node: ts.Expression): boolean {
  return ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.SuperKeyword;
}
