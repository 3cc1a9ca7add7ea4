/** The mutants of a module: small changes of its code, which a test should detect. */

import ts from "npm:typescript@5.9.3";

export interface Mutant {
  readonly path: string;
  readonly line: number;
  readonly before: string;
  readonly after: string;
  /** The range of the code in the module's text, in UTF-16 code units. */
  readonly start: number;
  readonly end: number;
}

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

/** Returns the mutants of a module, in the order of its text. */
export function mutantsOf(path: string, text: string): Mutant[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const mutants: Mutant[] = [];
  const add = (start: number, end: number, after: string) => {
    const line = source.getLineAndCharacterOfPosition(start).line + 1;
    mutants.push({ path, line, before: text.slice(start, end), after, start, end });
  };
  const visit = (node: ts.Node): void => {
    if (isExcluded(node)) return;
    mutate(node, source, add);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return mutants.sort((a, b) => a.start - b.start || a.end - b.end);
}

/**
 * Reports whether a node is excluded: types don't run, and texts of errors have tests of their own.
 */
function isExcluded(node: ts.Node): boolean {
  return ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node) || ts.isImportDeclaration(node) ||
    ts.isExportDeclaration(node) || ts.isTemplateExpression(node) ||
    (ts.isNewExpression(node) && /Error$/.test(node.expression.getText()));
}

type AddMutant = (start: number, end: number, after: string) => void;

function mutate(node: ts.Node, source: ts.SourceFile, add: AddMutant): void {
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
    // Don't make endless loops, which only a slow time-out would detect.
    if (!isLoop(node)) add(start, end, "true");
    add(start, end, "false");
  }
  if (ts.isNumericLiteral(node) && !isInDeclaredName(node)) {
    add(node.getStart(source), node.end, String(Number(node.text.replaceAll("_", "")) + 1));
  }
  if (node.kind === ts.SyntaxKind.TrueKeyword) add(node.getStart(source), node.end, "false");
  if (node.kind === ts.SyntaxKind.FalseKeyword) add(node.getStart(source), node.end, "true");
  if (ts.isExpressionStatement(node) && !isSuperCall(node.expression)) {
    add(node.getStart(source), node.end, ";");
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

function isInDeclaredName(node: ts.Node): boolean {
  return ts.isPropertyAssignment(node.parent) && node.parent.name === node;
}

function isSuperCall(node: ts.Expression): boolean {
  return ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.SuperKeyword;
}
