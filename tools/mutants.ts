/** The mutants of a module: small changes of its code that a test should detect. */

import ts from "npm:typescript@5.9.3";

export interface Mutant {
  readonly path: string;
  readonly line: number;
  readonly originalCode: string;
  readonly mutatedCode: string;
  /** The range of the original code in the module's text, in UTF-16 code units. */
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

export function mutantsOf(path: string, text: string): Mutant[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const mutants: Mutant[] = [];
  const addMutant = (start: number, end: number, mutatedCode: string) => {
    const line = source.getLineAndCharacterOfPosition(start).line + 1;
    mutants.push({
      path,
      line,
      originalCode: text.slice(start, end),
      mutatedCode: mutatedCode,
      start,
      end,
    });
  };
  const visit = (node: ts.Node): void => {
    if (isExcluded(node)) return;
    mutate(node, source, addMutant);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return mutants.sort((a, b) => a.start - b.start || a.end - b.end);
}

/**
 * Reports whether a node is excluded: types don't run, and the messages of errors have other tests.
 */
function isExcluded(node: ts.Node): boolean {
  return ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node) || ts.isImportDeclaration(node) ||
    ts.isExportDeclaration(node) || ts.isTemplateExpression(node) ||
    (ts.isNewExpression(node) && /Error$/.test(node.expression.getText()));
}

function mutate(
  node: ts.Node,
  source: ts.SourceFile,
  addMutant: (start: number, end: number, mutatedCode: string) => void,
): void {
  if (ts.isBinaryExpression(node)) {
    const { operatorToken } = node;
    const mutatedOperator = OPERATORS.get(operatorToken.kind);
    const isMutable = mutatedOperator !== undefined && !isStringLiteral(node.left) &&
      !isStringLiteral(node.right) && !isInNullishChain(node);
    if (isMutable) {
      addMutant(operatorToken.getStart(source), operatorToken.end, mutatedOperator);
    }
  }
  const condition = conditionOf(node);
  if (condition !== undefined && !isConstant(condition)) {
    const [start, end] = [condition.getStart(source), condition.end];
    // Don't make endless loops: only the time-out would detect them.
    if (!isLoop(node)) addMutant(start, end, "true");
    addMutant(start, end, "false");
  }
  if (ts.isNumericLiteral(node) && !isPropertyName(node)) {
    addMutant(node.getStart(source), node.end, String(Number(node.text.replaceAll("_", "")) + 1));
  }
  if (node.kind === ts.SyntaxKind.TrueKeyword) addMutant(node.getStart(source), node.end, "false");
  if (node.kind === ts.SyntaxKind.FalseKeyword) addMutant(node.getStart(source), node.end, "true");
  if (ts.isExpressionStatement(node) && !isSuperCall(node.expression)) {
    addMutant(node.getStart(source), node.end, ";");
  }
  if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken) {
    addMutant(node.getStart(source), node.operand.getStart(source), "");
  }
}

/** Reports whether the code is a part of `a ?? b ?? c`: `a ?? b && c` doesn't parse. */
function isInNullishChain(node: ts.BinaryExpression): boolean {
  const isNullish = (each: ts.Node) =>
    ts.isBinaryExpression(each) &&
    each.operatorToken.kind === ts.SyntaxKind.QuestionQuestionToken;
  return isNullish(node) && (isNullish(node.left) || isNullish(node.parent));
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

function isStringLiteral(node: ts.Expression): boolean {
  return ts.isStringLiteralLike(node) || ts.isTemplateExpression(node);
}

function isPropertyName(node: ts.Node): boolean {
  return ts.isPropertyAssignment(node.parent) && node.parent.name === node;
}

function isSuperCall(node: ts.Expression): boolean {
  return ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.SuperKeyword;
}
